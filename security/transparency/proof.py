"""That an entry, or several, is in a federation's log, for somebody who has the log's key and nothing else."""

import json
from dataclasses import dataclass
from typing import Any

from skerry.errors import InputError, RefusedError
from skerry.security.privacy.chain import Entry, line, walk
from skerry.security.transparency.checkpoint import Checkpoint
from skerry.security.transparency.events import EventKind
from skerry.security.transparency.instructions import Opening
from skerry.security.transparency.merkle import verify_inclusion
from skerry.security.transparency.note import NoteKey

__all__ = ["LogProof", "LogProofs"]


@dataclass(frozen=True)
class LogProof:
    """That one entry is in a log: checked by :meth:`verify` with nothing but the log's public key.

    Attributes:
        entry: with its salt, so that its leaf can be computed.
        path: of the inclusion proof (RFC 9162), hashes of 32 bytes.
        checkpoint: the signed note of the state that the path leads to.
        opening: of one instruction, where the entry is a round's and one is to be shown.
    """

    entry: Entry
    path: tuple[bytes, ...]
    checkpoint: str
    opening: Opening | None = None

    def verify(self, key: NoteKey) -> Checkpoint:
        """Check the note, and that the entry is the one under its root.

        Returns:
            The state of the log that the proof is about.

        Raises:
            RefusedError: not signed by the key (``signature``, ``origin``), or another entry, or not an instruction
                of that round (``inclusion``).
            LedgerCorruptError: the entry does not say what its hash stands for.
        """
        state = Checkpoint.open(self.checkpoint, [key], origin=key.name)
        found = _alone(line(self.entry))
        verify_inclusion(bytes.fromhex(found.hash), found.seq, state.size, self.path, state.root)
        if self.opening is not None:
            self.opening.verify(_root_in(found))
        return state

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; hashes in hexadecimal."""
        shown = {} if self.opening is None else {"opening": self.opening.to_json()}
        return shown | {
            "entry": json.loads(line(self.entry)),
            "path": [step.hex() for step in self.path],
            "checkpoint": self.checkpoint,
        }

    @staticmethod
    def from_json(value: object) -> "LogProof":
        """The proof that :meth:`to_json` wrote; nothing of it is believed before :meth:`verify`.

        Raises:
            InputError: another form.
            LedgerCorruptError: the entry does not say what its hash stands for.
        """
        try:
            if not isinstance(value, dict) or value.keys() - {"opening"} != {"entry", "path", "checkpoint"}:
                raise ValueError("other fields")
            raw = json.dumps(value["entry"], sort_keys=True, separators=(",", ":")).encode() + b"\n"
            path = tuple(bytes.fromhex(step) for step in value["path"])
            opening = Opening.from_json(value["opening"]) if "opening" in value else None
            return LogProof(_alone(raw), path, str(value["checkpoint"]), opening)
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError("this is not a proof from a log") from error


@dataclass(frozen=True)
class LogProofs:
    """That several entries are in one state of a log: at least one, under one checkpoint."""

    each: tuple[LogProof, ...]

    def __post_init__(self) -> None:
        if len({proof.checkpoint for proof in self.each}) != 1:
            raise InputError("proofs that belong together are about one state of a log")

    @property
    def checkpoint(self) -> str:
        """The signed note of that state."""
        return self.each[0].checkpoint

    def verify(self, key: NoteKey) -> Checkpoint:
        """Check every one of them.

        Raises:
            RefusedError, LedgerCorruptError: see :meth:`LogProof.verify`.
        """
        return [proof.verify(key) for proof in self.each][-1]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; each proof as :meth:`LogProof.to_json` has it, without the checkpoint."""
        shown = [{name: value for name, value in one.to_json().items() if name != "checkpoint"} for one in self.each]
        return {"checkpoint": self.checkpoint, "proofs": shown}

    @staticmethod
    def from_json(value: object) -> "LogProofs":
        """What :meth:`to_json` wrote, or :meth:`LogProof.to_json`; nothing of it is believed before :meth:`verify`.

        Raises:
            InputError: another form.
            LedgerCorruptError: an entry does not say what its hash stands for.
        """
        if not isinstance(value, dict) or "proofs" not in value:
            return LogProofs((LogProof.from_json(value),))
        if value.keys() - {"key"} != {"checkpoint", "proofs"} or not isinstance(value["proofs"], list):
            raise InputError("these are not proofs from a log")
        shown = [one | {"checkpoint": value["checkpoint"]} for one in value["proofs"] if isinstance(one, dict)]
        if len(shown) < len(value["proofs"]):
            raise InputError("these are not proofs from a log")
        return LogProofs(tuple(map(LogProof.from_json, shown)))


def _root_in(found: Entry) -> bytes:
    """Of a round's instructions; the log's writer is not trusted to have kept to the form."""
    try:
        if found.kind == EventKind.INSTRUCTIONS:
            return bytes.fromhex(found.body["root"])
    except (KeyError, TypeError, ValueError):
        pass
    raise RefusedError("inclusion", f"entry {found.seq}, of kind {found.kind}, holds no instructions")


def _alone(raw: bytes) -> Entry:
    """The entry of one line, checked by itself: that it says what its hash stands for."""
    fields = json.loads(raw)
    if not isinstance(fields, dict) or not isinstance(fields.get("prev"), str) or type(fields.get("seq")) is not int:
        raise ValueError("not an entry")
    return next(walk(raw, first=fields["seq"], prev=fields["prev"]))
