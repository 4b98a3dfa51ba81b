"""One log of a federation: who was enrolled and revoked, what was released, asked for, judged and spent, in order.

Every statement that others may have to rely on later is a leaf of one Merkle tree, under checkpoints that the log's key
signs. Whoever keeps a checkpoint (a witness, a device, an auditor) can have it shown that what it was told is in the
log, and that nothing which was in it has been changed, dropped or moved since.

::

    <folder>/log.jsonl        one entry a line (the format of skerry.security.privacy.chain: salted leaves)
    <folder>/published/       what witnesses read: the signed checkpoint, and tiles that hold hashes only

What an entry says is committed to, not shown: a proof gives one entry with its salt, and the published part tells
nothing of any. Names can be erased as in a ledger; proofs of all else stay.

Several processes may write, one after another; a batch is on stable storage, and its checkpoint published, before
:meth:`Log.append` returns.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from skerry.errors import InputError, LedgerCorruptError, RefusedError
from skerry.fsio import append_durably, disk_errors, write_atomic
from skerry.security.locking import exclusive
from skerry.security.privacy.chain import GENESIS, Entry, entry, erased, line, split, walk
from skerry.security.transparency.checkpoint import Checkpoint
from skerry.security.transparency.merkle import MerkleTree, verify_inclusion
from skerry.security.transparency.note import NoteKey, NoteSigner
from skerry.security.transparency.publisher import Publisher

__all__ = ["Event", "EventKind", "Log", "LogProof"]


class EventKind(StrEnum):
    """What an entry is about, and the fields of its body (digests in hexadecimal)."""

    ENROLMENT = "enrolment"
    """``device``, ``key`` (digest of its public identity), ``role``"""
    REVOCATION = "revocation"
    """``device``, ``key``, ``reason``"""
    RELEASE = "release"
    """``name``, ``version``, ``manifest`` (its digest)"""
    INSTRUCTIONS = "instructions"
    """``run``, ``round``, ``digests``: device → digest of the envelope that it was sent"""
    VERDICTS = "verdicts"
    """``run``, ``round``, ``digest``: of the round's verdicts"""
    LEDGER_HEAD = "ledger_head"
    """``ledger``, ``size``, ``root``"""


_FIELDS = {
    EventKind.ENROLMENT: {"device", "key", "role"},
    EventKind.REVOCATION: {"device", "key", "reason"},
    EventKind.RELEASE: {"name", "version", "manifest"},
    EventKind.INSTRUCTIONS: {"run", "round", "digests"},
    EventKind.VERDICTS: {"run", "round", "digest"},
    EventKind.LEDGER_HEAD: {"ledger", "size", "root"},
}


@dataclass(frozen=True)
class Event:
    """Something to be entered.

    Raises:
        InputError: the body has other fields than its kind.
    """

    kind: EventKind
    body: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.body.keys() != _FIELDS[self.kind]:
            raise InputError(f"an entry of kind {self.kind} has the fields {', '.join(sorted(_FIELDS[self.kind]))}")


@dataclass(frozen=True)
class LogProof:
    """That one entry is in a log: checked by :meth:`verify` with nothing but the log's public key.

    Attributes:
        entry: with its salt, so that its leaf can be computed.
        path: of the inclusion proof (RFC 9162), hashes of 32 bytes.
        checkpoint: the signed note of the state that the path leads to.
    """

    entry: Entry
    path: tuple[bytes, ...]
    checkpoint: str

    def verify(self, key: NoteKey) -> Checkpoint:
        """Check the note, and that the entry is the one under its root.

        Returns:
            The state of the log that the proof is about.

        Raises:
            RefusedError: not signed by the key (``signature``, ``origin``), or another entry (``inclusion``).
            LedgerCorruptError: the entry does not say what its hash stands for.
        """
        state = Checkpoint.open(self.checkpoint, [key], origin=key.name)
        found = _alone(line(self.entry))
        verify_inclusion(bytes.fromhex(found.hash), found.seq, state.size, self.path, state.root)
        return state

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; hashes in hexadecimal."""
        return {
            "entry": json.loads(line(self.entry)),
            "path": [step.hex() for step in self.path],
            "checkpoint": self.checkpoint,
        }

    @staticmethod
    def from_json(value: object) -> "LogProof":
        """The proof that :meth:`to_json` wrote; nothing of it is believed before :meth:`verify`.

        Raises:
            InputError: another form.
        """
        try:
            if not isinstance(value, dict) or value.keys() != {"entry", "path", "checkpoint"}:
                raise ValueError("other fields")
            raw = json.dumps(value["entry"], sort_keys=True, separators=(",", ":")).encode() + b"\n"
            path = tuple(bytes.fromhex(step) for step in value["path"])
            return LogProof(_alone(raw), path, str(value["checkpoint"]))
        except (TypeError, ValueError, RecursionError, RefusedError) as error:
            raise InputError("this is not a proof from a log") from error


class Log:
    """The log in a folder, open for reading and writing; several objects and processes may have it open.

    Opening reads and checks all of it; later calls read what others have added.

    Args:
        folder: made when missing.
        signer: the log's key; its name is the log's, e.g. ``skerry/log/hospitals``.

    Raises:
        LedgerCorruptError: an entry was changed, dropped or moved.
    """

    def __init__(self, folder: Path, signer: NoteSigner) -> None:
        self._path = folder / "log.jsonl"
        self._signer = signer
        self._publisher = Publisher(folder / "published")
        self._forget()
        with exclusive(self._path):
            self._take_in()

    @property
    def key(self) -> NoteKey:
        """What others check its checkpoints by."""
        return self._signer.key

    def __len__(self) -> int:
        """Number of entries, as last seen."""
        return len(self._entries)

    def entries(self) -> tuple[Entry, ...]:
        """All entries, those of other writers too."""
        with exclusive(self._path):
            self._take_in()
        return tuple(self._entries)

    def checkpoint(self) -> Checkpoint:
        """The state as last seen."""
        return Checkpoint(self.key.name, len(self._tree), self._tree.root())

    def append(self, events: Sequence[Event], now: int) -> tuple[Entry, ...]:
        """Enter a batch; on return it is on stable storage and under a published checkpoint.

        Raises:
            InputError: a body is not made of plain JSON values.
            DiskFullError: no room; nothing of the batch counts.
        """
        with exclusive(self._path):
            self._take_in()
            made: list[Entry] = []
            prev = self._entries[-1].hash if self._entries else GENESIS
            for number, event in enumerate(events, len(self._entries)):
                made.append(entry(number, prev, event.kind.value, now, event.body))
                prev = made[-1].hash
            append_durably(self._path, b"".join(map(line, made)))
            self._take_in()
            self._publisher.publish(self._tree, self.checkpoint(), self._signer)
        return tuple(made)

    def prove(self, number: int) -> LogProof:
        """That an entry is in the log as it is now.

        Raises:
            InputError: there is no such entry, or what it said was erased.
        """
        found = self.entries()
        if not 0 <= number < len(found) or found[number].erased:
            raise InputError(f"there is no entry {number} to be shown", where=str(self._path))
        return LogProof(found[number], tuple(self._tree.inclusion_proof(number)), self.checkpoint().sign(self._signer))

    def erase(self, numbers: Sequence[int]) -> None:
        """Forget what entries said (a name that must go); every root and proof of another entry stays.

        Raises:
            InputError: there is no such entry.
            DiskFullError: no room; nothing is erased.
        """
        with exclusive(self._path):
            self._take_in()
            if not all(0 <= number < len(self._entries) for number in numbers):
                raise InputError("an entry that is to be erased is not there", where=str(self._path))
            gone = set(numbers)
            kept = [erased(one) if one.seq in gone and not one.erased else one for one in self._entries]
            write_atomic(self._path, b"".join(map(line, kept)))
            self._take_in()

    def _forget(self) -> None:
        self._file, self._offset = 0, 0
        self._entries: list[Entry] = []
        self._tree = MerkleTree()

    def _take_in(self) -> None:
        """Read what is new; a file that was replaced is read whole, and must begin with what was seen of the other."""
        try:
            data = self._path.read_bytes() if self._stale() else self._rest()
        except FileNotFoundError:
            data = b""
        complete, torn = split(data)
        if torn or len(complete) > len(data):
            self._mend(len(data) - len(torn), complete[len(data) :])
        for one in walk(complete, first=len(self._entries), prev=self._entries[-1].hash if self._entries else GENESIS):
            self._entries.append(one)
            self._tree.append(bytes.fromhex(one.hash))
        self._offset += len(complete)

    def _stale(self) -> bool:
        """Whether the file is another than the one read so far; then nothing of it is known, but what its root was."""
        found = self._path.stat()
        if found.st_ino == self._file and found.st_size >= self._offset:
            return False
        size, root = len(self._tree), self._tree.root()
        self._forget()
        self._file = found.st_ino
        if size:
            before = MerkleTree(bytes.fromhex(one.hash) for one in walk(split(self._path.read_bytes())[0]))
            if len(before) < size or before.root(size) != root:
                raise LedgerCorruptError(
                    "rewritten", "the log does not begin with what was seen of it", where=str(self._path)
                )
        return True

    def _rest(self) -> bytes:
        with self._path.open("rb") as file:
            file.seek(self._offset)
            return file.read()

    def _mend(self, keep: int, ending: bytes) -> None:
        """Cut off the part of an entry that a crash left, or add the line end that it took."""
        with disk_errors(self._path), self._path.open("r+b") as file:
            file.truncate(self._offset + keep)
            file.seek(0, os.SEEK_END)
            file.write(ending)
            file.flush()
            os.fsync(file.fileno())


def _alone(raw: bytes) -> Entry:
    """The entry of one line, checked by itself: that it says what its hash stands for."""
    fields = json.loads(raw)
    if not isinstance(fields, dict) or not isinstance(fields.get("prev"), str) or type(fields.get("seq")) is not int:
        raise ValueError("not an entry")
    return next(walk(raw, first=fields["seq"], prev=fields["prev"]))
