"""The federation's log beside its runs: where it lies, whose key signs it, and what a run enters when it ends.

``<runs>/log`` (:class:`~skerry.security.transparency.log.Log`) outlives runs, as the registry does. A run's statements
are one batch: the digests of the instructions that its rounds sent, those of their verdicts, the head of its ledger
and its release. Who is enrolled and revoked is entered as the registry has it. Whatever is wrong with the log costs
the run nothing but a notice.
"""

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skerry.canonical import digest
from skerry.errors import InputError, SkerryError
from skerry.runfolder import RunFolder
from skerry.security.identity import Identity
from skerry.security.locking import exclusive
from skerry.security.transparency.events import Event, EventKind
from skerry.security.transparency.log import Log
from skerry.security.transparency.note import NoteSigner

if TYPE_CHECKING:
    from skerry.server.federation import Federation

__all__ = ["FOLDER", "enter_devices", "enter_run", "federation_log", "round_digest", "why"]

FOLDER = "log"
"""The log's folder, in a folder of runs."""

_KEY = "key.json"


def federation_log(runs: Path, *, create: bool = True) -> Log:
    """The log of a folder of runs; its key is made with it.

    Raises:
        InputError: there is none, and it is not to be made.
        RefusedError: others may use the key file (``open_key_file``), or an entry was changed (``chain_broken``).
    """
    folder = runs / FOLDER
    if not create and not (folder / _KEY).exists():
        raise InputError("nothing has been entered in a log here", where=str(folder), mend="it begins with a run")
    with exclusive(folder / _KEY):
        if not (folder / _KEY).exists():
            Identity.generate(FOLDER).save(folder / _KEY)
    signing = Identity.load(folder / _KEY).signing
    name = sha256(signing.public_key().public_bytes_raw()).hexdigest()[:16]
    return Log(folder, NoteSigner(f"skerry/log/{name}", signing))


def round_digest(verdicts: list[dict[str, Any]]) -> str:
    """What stands for a round's verdicts: SHA-256, hexadecimal, of its lines in ``verdicts.jsonl`` in their order."""
    return digest(verdicts)


def enter_run(federation: "Federation", sent: Mapping[int, Mapping[str, bytes]]) -> None:
    """Enter what a finished run can be held to.

    Args:
        federation: the run.
        sent: for each round that this process conducted, the digest of each device's instruction.
    """
    folder = federation.folder
    try:
        federation_log(folder.path.parent).append(_events(federation, sent), federation.clock())
    except (SkerryError, OSError) as error:
        with suppress(SkerryError, OSError):  # that this cannot be said either costs a finished run nothing
            folder.notify(f"nothing was entered in the federation's log: {why(error)}")


def enter_devices(runs: Path, now: int) -> int:
    """Enter who was enrolled and who was revoked, as the registry has it and the log does not yet; how many that were.

    A device is entered under the digest of the key that it was enrolled with, which is never enrolled again.

    Raises:
        SkerryError: registry or log cannot be read or written; nothing is lost, it is entered next time.
    """
    from skerry.server.enrolment import Office
    from skerry.server.registry.enrolled import State

    log = federation_log(runs)
    known = {
        (one.kind, one.body["device"], one.body["key"])
        for one in log.entries()
        if one.kind in {EventKind.ENROLMENT, EventKind.REVOCATION} and not one.erased
    }
    events: list[Event] = []
    for one in Office(runs).enrolled():
        if one.state not in {State.ENROLLED, State.REVOKED}:
            continue
        who = {"device": one.device.name, "key": sha256(one.device_key).hexdigest()}
        events.append(Event(EventKind.ENROLMENT, {**who, "role": one.role.value}))
        if one.state is State.REVOKED and one.admission is not None:
            events.append(Event(EventKind.REVOCATION, {**who, "reason": one.admission.why}))
    missing = [one for one in events if (one.kind, one.body["device"], one.body["key"]) not in known]
    if missing:
        log.append(missing, now)
    return len(missing)


def why(error: SkerryError | OSError) -> str:
    """What went wrong with a log, in a sentence's rest."""
    return error.what if isinstance(error, SkerryError) else str(error)


def _events(federation: "Federation", sent: Mapping[int, Mapping[str, bytes]]) -> list[Event]:
    folder, run = federation.folder, federation.run
    events = [
        Event(
            EventKind.INSTRUCTIONS,
            {"run": run, "round": number, "digests": {device: found.hex() for device, found in sorted(asked.items())}},
        )
        for number, asked in sorted(sent.items())
    ]
    for number, lines in sorted(verdicts_by_round(folder).items()):
        events.append(Event(EventKind.VERDICTS, {"run": run, "round": number, "digest": round_digest(lines)}))
    state = federation.ledger.checkpoint()
    events.append(Event(EventKind.LEDGER_HEAD, {"ledger": state.origin, "size": state.size, "root": state.root.hex()}))
    released = [entry.body for entry in federation.ledger.entries() if entry.kind == "delivery"]
    return events + [
        Event(
            EventKind.RELEASE,
            {"name": federation.scenario.name, "version": body["version"], "manifest": body["manifest"]},
        )
        for body in released[-1:]
    ]


def verdicts_by_round(folder: RunFolder) -> dict[int, list[dict[str, Any]]]:
    """The lines of ``verdicts.jsonl`` of each round."""
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for line in folder.lines("verdicts.jsonl"):
        found[line["round"]].append(line)
    return dict(found)
