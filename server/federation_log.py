"""The federation's log beside its runs: where it lies, whose key signs it, and what a run enters when it ends.

``<runs>/log`` (:class:`~skerry.security.transparency.log.Log`) outlives runs, as the registry does. A run's statements
are one batch: for each round a root over the instructions that were sent, and the digest of the verdicts; the head of
its ledger; its release. What opens a root, device by device, lies in the run (``instructions.jsonl``). Who is enrolled
and revoked is entered as the registry has it. Whatever is wrong with the log costs the run nothing but a notice.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skerry.canonical import digest
from skerry.errors import InputError, NotPublishedError, RefusedError, RunFailedError, SkerryError
from skerry.fsio import append_durably
from skerry.runfolder import RunFolder
from skerry.security.identity import Identity
from skerry.security.locking import exclusive
from skerry.security.privacy.chain import Entry
from skerry.security.transparency.events import Event, EventKind
from skerry.security.transparency.instructions import InstructionTree, Opening
from skerry.security.transparency.log import ENTRIES, PUBLISHED, Change, Log
from skerry.security.transparency.note import NoteSigner

if TYPE_CHECKING:
    from skerry.server.federation import Federation
    from skerry.server.registry.enrolled import Enrolled

__all__ = [
    "FOLDER",
    "enter_devices",
    "enter_release",
    "enter_run",
    "erase_forgotten",
    "federation_log",
    "instruction_of",
    "log_names",
    "round_digest",
    "told",
]

FOLDER = "log"
"""The log's folder, in a folder of runs."""

_KEY = "key.json"
_SENT = "instructions.jsonl"


def federation_log(runs: Path, *, create: bool = True) -> Log:
    """The log of a folder of runs; its key is made with it.

    Raises:
        InputError: there is none, and it is not to be made.
        RefusedError: its key is lost (``key_lost``), others may use the key file (``open_key_file``), or an entry was
            changed (``chain_broken``, ``rewritten``).
    """
    folder = runs / FOLDER
    begun = any((folder / name).exists() for name in (ENTRIES, PUBLISHED))
    if not create and not begun and not (folder / _KEY).exists():
        raise InputError("there is no log in this folder", where=str(folder), mend="it begins with a run")
    with exclusive(folder / _KEY):
        if not (folder / _KEY).exists():
            if begun:
                raise RefusedError(
                    "key_lost",
                    "the log is there and its key is not; another key would be another log's",
                    where=str(folder / _KEY),
                    mend="restore key.json; where there is no copy, move the folder away: a new log begins",
                )
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
            folder.notify(told(error))


def enter_release(runs: Path, name: str, version: int, manifest: str, now: int) -> str | None:
    """Enter a version that was published in a repository, where there is a log; what kept it out, in a sentence."""
    try:
        log = federation_log(runs, create=False)
        log.append([Event(EventKind.RELEASE, {"name": name, "version": version, "manifest": manifest})], now)
    except (SkerryError, OSError) as error:
        return told(error)
    return None


def enter_devices(runs: Path, now: int) -> int:
    """Bring the log to what the registry has of enrolments and revocations; how many entries that changed.

    A device is entered under the digest of the key that it was enrolled with, which is never enrolled again. One that
    the registry has forgotten is not entered, and what the log said of it is erased, as is a reason that named it.
    What the registry does not know at all stays.

    Raises:
        SkerryError, OSError: registry or log cannot be read or written; nothing is lost, it is done the next time.
    """
    from skerry.server.enrolment import Office

    office = Office(runs)
    if not office.enrolled():
        return 0

    def decide(entries: tuple[Entry, ...]) -> Change:
        everybody = office.enrolled()
        forgotten = {_key(one) for one in everybody if one.forgotten}
        due = {(event.kind.value, event.body["key"]): event for one in everybody for event in _statements(one)}
        said = [one for one in entries if one.kind in {EventKind.ENROLMENT, EventKind.REVOCATION} and not one.erased]
        stale = [one for one in said if one.body["key"] in forgotten or _contradicts(due, one)]
        known = {(one.kind, one.body["key"]) for one in said if one not in stale}
        return Change(
            erase=tuple(one.seq for one in stale),
            enter=tuple(event for which, event in due.items() if which not in known),
        )

    changed = federation_log(runs).revise(decide, now)
    return len(changed.erase) + len(changed.enter)


def _statements(one: "Enrolled") -> list[Event]:
    """What is to stand in the log of an enrolment."""
    from skerry.server.registry.enrolled import State

    if one.forgotten or one.state not in {State.ENROLLED, State.REVOKED}:
        return []
    who = {"device": one.device.name, "key": _key(one)}
    events = [Event(EventKind.ENROLMENT, {**who, "role": one.role.value})]
    if one.state is State.REVOKED and one.admission is not None:
        events.append(Event(EventKind.REVOCATION, {**who, "reason": one.admission.why}))
    return events


def _key(one: "Enrolled") -> str:
    return sha256(one.device_key).hexdigest()


def _contradicts(due: Mapping[tuple[str, str], Event], entry: Entry) -> bool:
    """Whether the registry has the same enrolment or revocation in other words: a name in it was forgotten."""
    event = due.get((entry.kind, entry.body["key"]))
    return event is not None and event.body != entry.body


def erase_forgotten(runs: Path, now: int) -> None:
    """Erase what the log says of devices that the registry has forgotten; see :func:`enter_devices`.

    Raises:
        RunFailedError: the log cannot be read or written, and names them still.
        NotPublishedError: it names them no more; something else was entered and is not published.
    """
    try:
        enter_devices(runs, now)
    except NotPublishedError:
        raise
    except (SkerryError, OSError) as error:
        raise RunFailedError(
            f"the registry has forgotten it, and the federation's log still names it: {_cause(error)}",
            where=str(runs / FOLDER),
            mend="mend the log; the next `skerry fleet approve`, `revoke` or `forget` erases the name there",
        ) from error


def log_names(runs: Path, device: str) -> bool:
    """Whether an enrolment or a revocation in the log names the device."""
    path = runs / FOLDER / ENTRIES
    return path.is_file() and f'"device":{json.dumps(device)},'.encode() in path.read_bytes()


def told(error: SkerryError | OSError) -> str:
    """How far entering something went, in a sentence."""
    if isinstance(error, NotPublishedError):
        return error.what
    return f"nothing was entered in the federation's log: {_cause(error)}"


def _cause(error: SkerryError | OSError) -> str:
    return error.what if isinstance(error, SkerryError) else str(error)


def instruction_of(runs: Path, entry: Entry, device: str) -> Opening:
    """What opens a round's entry for one device; it tells nothing of who else was asked.

    Raises:
        InputError: it is not a round's, the run's folder has it no more, or the device was sent nothing in it.
    """
    if entry.kind != EventKind.INSTRUCTIONS or entry.erased:
        raise InputError(f"entry {entry.seq} is not about instructions", mend="see `skerry security log list`")
    for line in RunFolder.open(entry.body["run"], runs).lines(_SENT):
        if line["root"] == entry.body["root"]:
            return InstructionTree.from_json(line).open(device)
    raise InputError(f"run {entry.body['run']} does not have what opens entry {entry.seq}", where=str(runs))


def _instructions(folder: RunFolder, sent: Mapping[int, Mapping[str, bytes]]) -> list[Event]:
    """Each round's root; what opens it is on stable storage before."""
    trees = {number: InstructionTree.of(digests) for number, digests in sorted(sent.items())}
    roots = {number: tree.root().hex() for number, tree in trees.items()}
    lines = [json.dumps({"round": number, "root": roots[number], **tree.to_json()}) for number, tree in trees.items()]
    if lines:
        append_durably(folder.path / _SENT, "".join(f"{line}\n" for line in lines).encode())
    return [
        Event(EventKind.INSTRUCTIONS, {"run": folder.id, "round": number, "root": root})
        for number, root in roots.items()
    ]


def _events(federation: "Federation", sent: Mapping[int, Mapping[str, bytes]]) -> list[Event]:
    folder, run = federation.folder, federation.run
    events = _instructions(folder, sent)
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
