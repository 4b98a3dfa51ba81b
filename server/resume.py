"""Going on with a run that was stopped: what its ledger says was opened, released and received so far."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from skerry.config import Scenario
from skerry.errors import RefusedError
from skerry.fsio import write_atomic
from skerry.records import RoundRecord
from skerry.runfolder import RunFolder
from skerry.security.privacy.chain import Entry
from skerry.security.privacy.ledger import Ledger
from skerry.security.privacy.receipt import SignedReceipt
from skerry.server.checkpoint import Checkpoint, load_checkpoint

__all__ = ["Past", "kept_nowhere", "read_past", "reopen"]


@dataclass(frozen=True)
class Past:
    """What happened before this process.

    Attributes:
        members: device to the number of the ledger entry that names it.
        cohorts: devices that were asked, by round.
        released: the entry of each round's release.
        answered: devices whose receipts of a round are held, by round.
        receipts: digest of the last receipt of each device.
        checkpoint: the last finished round.
        records: of all finished rounds.
    """

    members: Mapping[str, int] = field(default_factory=dict)
    cohorts: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    released: Mapping[int, Entry] = field(default_factory=dict)
    answered: Mapping[int, frozenset[str]] = field(default_factory=dict)
    receipts: Mapping[str, bytes] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None
    records: tuple[RoundRecord, ...] = ()

    @property
    def rounds(self) -> int:
        """Finished rounds."""
        return self.checkpoint.round if self.checkpoint is not None else 0


def reopen(folder: RunFolder) -> None:
    """Make sure that a run may go on, before anything of it is touched.

    Raises:
        RefusedError: it is complete, still running, or of a kind whose state is not kept.
    """
    if folder.state == "complete":
        raise RefusedError("complete", "this run is complete", where=folder.id)
    if folder.state not in {"interrupted", "failed"}:
        raise RefusedError("running", "this run is still going on", where=folder.id, mend="wait for it, or stop it")
    what = kept_nowhere(folder.scenario)
    if what is not None:
        raise RefusedError(
            "not_resumable", f"{what} lives in memory only, so this run cannot go on", where=folder.id,
            mend="run the scenario again",
        )  # fmt: skip


def kept_nowhere(scenario: Scenario) -> str | None:
    """What of such a run's state is on no disk; None when it can go on after its process or its servers have ended."""
    held = {
        "an audit's guesses": scenario.audit.canaries > 0,
        "a clip that follows a quantile": scenario.privacy.clip_quantile is not None,
    }
    return next((what for what, used in held.items() if used), None)


def read_past(folder: RunFolder, ledger: Ledger) -> Past:
    """Put the run's records right up to its last finished round, and read what the ledger holds.

    Records are written after the checkpoint they belong to; lines that were lost in between are in the checkpoint.
    """
    checkpoint = load_checkpoint(folder)
    last = checkpoint.round if checkpoint is not None else 0
    _mend(folder, "rounds.jsonl", last, [] if checkpoint is None else [checkpoint.record])
    _mend(folder, "verdicts.jsonl", last, [] if checkpoint is None else checkpoint.verdicts)
    members: dict[str, int] = {}
    names: dict[int, str] = {}
    cohorts: dict[int, tuple[str, ...]] = {}
    released: dict[int, Entry] = {}
    answered: dict[int, frozenset[str]] = {}
    receipts: dict[str, bytes] = {}
    for entry in ledger.entries():
        body = entry.body
        if entry.kind == "member":
            if "device" not in body:
                raise RefusedError(
                    "not_resumable", "a device of this run was forgotten, so it cannot go on", where=folder.id
                )
            members[body["device"]] = entry.seq
            names[entry.seq] = body["device"]
        elif entry.kind == "round_open":
            cohorts[body["round"]] = tuple(names[number] for number in body["cohort"])
        elif entry.kind == "release":
            released[body["round"]] = entry
            answered.setdefault(body["round"], frozenset())
        elif entry.kind == "receipts":
            for member, value in body["receipts"].items():
                device = names[int(member)]
                signed = SignedReceipt.from_json(value, run=folder.id, round=body["round"], device=device)
                receipts[device] = signed.receipt.digest
                answered[body["round"]] = answered.get(body["round"], frozenset()) | {device}
    return Past(members, cohorts, released, answered, receipts, checkpoint, tuple(folder.rounds()))


def _mend(folder: RunFolder, name: str, last: int, newest: list[dict[str, object]]) -> None:
    """Leave the lines of finished rounds only, those of the last one included."""
    before = [line for line in folder.lines(name) if line["round"] < last]
    lines = [json.dumps(line, allow_nan=False).encode() + b"\n" for line in [*before, *newest]]
    path = folder.path / name
    if b"".join(lines) != (path.read_bytes() if path.exists() else b""):
        write_atomic(path, b"".join(lines))
