"""What the federation's log is told of a run: what it can be held to when it has ended, and what it released.

A run's statements are one batch: for each round a root over the instructions that were sent, and the digest of the
verdicts; the head of its ledger; its release. What opens a root, device by device, lies in the run
(``instructions.jsonl``), and so do the proofs of its entries (``log_proofs.json``). Whatever is wrong with the log
costs the run nothing but a notice.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skerry.canonical import digest
from skerry.errors import InputError, SkerryError
from skerry.fsio import append_durably, write_json
from skerry.runfolder import RunFolder
from skerry.security.privacy.chain import Entry
from skerry.security.transparency.events import Event, EventKind
from skerry.security.transparency.instructions import InstructionTree, Opening
from skerry.security.transparency.proof import LogProofs
from skerry.server.federation_log import cause, federation_log, told

if TYPE_CHECKING:
    from skerry.server.federation import Federation

__all__ = ["PROOFS", "SENT", "enter_release", "enter_run", "instruction_of", "round_digest", "verdicts_by_round"]

PROOFS = "log_proofs.json"
"""The proofs of a run's entries, in its folder."""

SENT = "instructions.jsonl"
"""What opens the roots of a run's rounds, in its folder."""


def round_digest(verdicts: list[dict[str, Any]]) -> str:
    """What stands for a round's verdicts: SHA-256, hexadecimal, of its lines in ``verdicts.jsonl`` in their order."""
    return digest(verdicts)


def enter_run(federation: "Federation", sent: Mapping[int, Mapping[str, bytes]]) -> None:
    """Enter what a finished run can be held to, and keep the proofs of it with the run.

    Args:
        federation: the run.
        sent: for each round that this process conducted, the digest of each device's instruction.
    """
    folder = federation.folder
    try:
        log = federation_log(folder.path.parent)
        entered = log.append(_events(federation, sent), federation.clock())
    except (SkerryError, OSError) as error:
        _notify(folder, told(error))
        return
    try:
        proofs = LogProofs(tuple(log.prove(entry.seq) for entry in entered))
        write_json(folder.path / PROOFS, {"key": str(log.key), **proofs.to_json()})
    except (SkerryError, OSError) as error:
        _notify(folder, f"entered in the federation's log, whose proofs are not kept with the run: {cause(error)}")


def _notify(folder: RunFolder, sentence: str) -> None:
    with suppress(SkerryError, OSError):  # that this cannot be said either costs a finished run nothing
        folder.notify(sentence)


def enter_release(runs: Path, name: str, version: int, manifest: str, now: int) -> str | None:
    """Enter a version that was published in a repository, where there is a log; what kept it out, in a sentence."""
    try:
        log = federation_log(runs, create=False)
        log.append([Event(EventKind.RELEASE, {"name": name, "version": version, "manifest": manifest})], now)
    except (SkerryError, OSError) as error:
        return told(error)
    return None


def instruction_of(runs: Path, entry: Entry, device: str) -> Opening:
    """What opens a round's entry for one device; it tells nothing of who else was asked.

    Raises:
        InputError: it is not a round's, the run's folder has it no more, or the device was sent nothing in it.
    """
    if entry.kind != EventKind.INSTRUCTIONS or entry.erased:
        raise InputError(f"entry {entry.seq} is not about instructions", mend="see `skerry security log list`")
    for line in RunFolder.open(entry.body["run"], runs).lines(SENT):
        if line["root"] == entry.body["root"]:
            return InstructionTree.from_json(line).open(device)
    raise InputError(f"run {entry.body['run']} does not have what opens entry {entry.seq}", where=str(runs))


def _instructions(folder: RunFolder, sent: Mapping[int, Mapping[str, bytes]]) -> list[Event]:
    """Each round's root; what opens it is on stable storage before."""
    trees = {number: InstructionTree.of(digests) for number, digests in sorted(sent.items())}
    roots = {number: tree.root().hex() for number, tree in trees.items()}
    lines = [json.dumps({"round": number, "root": roots[number], **tree.to_json()}) for number, tree in trees.items()]
    if lines:
        append_durably(folder.path / SENT, "".join(f"{line}\n" for line in lines).encode())
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
    """The lines of ``verdicts.jsonl`` of each round that was finished; none of one in which nobody was asked."""
    found: dict[int, list[dict[str, Any]]] = {line["round"]: [] for line in folder.lines("rounds.jsonl")}
    for line in folder.lines("verdicts.jsonl"):
        found.setdefault(line["round"], []).append(line)
    return found
