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
:meth:`Log.append` returns. Of a batch whose writer was killed, whole entries from its beginning may stay.

A log never goes back: what is signed extends the checkpoint that its own key has signed, and a file whose end does not
is not opened.

Opening and entering take as long in a long log as in a short one: of the part that was signed, only the end is looked
at (:mod:`~skerry.security.transparency.signed_end`), and all that follows it is checked. Older entries that were
changed in the file or are gone from it are found by whoever reads entries (:meth:`Log.entries`, :meth:`Log.prove` of
one before that end, :meth:`Log.erase`, :meth:`Log.revise`): they read and check the whole file. That changes nothing of
what is signed meanwhile, which rests on hashes that were signed before.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from skerry.errors import DiskFullError, InputError, LedgerCorruptError, NotPublishedError
from skerry.fsio import append_durably, disk_errors, write_atomic
from skerry.security.locking import exclusive
from skerry.security.privacy.chain import GENESIS, Entry, entry, erased, line, split, walk
from skerry.security.transparency.checkpoint import Checkpoint
from skerry.security.transparency.events import Event
from skerry.security.transparency.merkle import MerkleTree
from skerry.security.transparency.note import NoteKey, NoteSigner
from skerry.security.transparency.proof import LogProof
from skerry.security.transparency.publisher import Publisher
from skerry.security.transparency.signed_end import signed_checkpoint, signed_end
from skerry.security.transparency.tiles import are_tiles_of

__all__ = ["ENTRIES", "PUBLISHED", "Change", "Log"]

ENTRIES = "log.jsonl"
"""The file of the entries, in the log's folder."""

PUBLISHED = "published"
"""The folder of what witnesses read, in the log's."""

_MEND = "restore log.jsonl from a newer copy; where there is none, move the folder away: a new log begins"


@dataclass(frozen=True)
class Change:
    """What is to become of a log: the numbers of entries that are forgotten, and what is entered."""

    erase: tuple[int, ...] = ()
    enter: tuple[Event, ...] = ()


class Log:
    """The log in a folder, open for reading and writing; several objects and processes may have it open.

    Opening checks the end of what was signed, and all that follows; later calls read what others have added, and those
    that need older entries read and check all of it.

    Args:
        folder: made when missing.
        signer: the log's key; its name is the log's, e.g. ``skerry/log/hospitals``.

    Raises:
        LedgerCorruptError: the last entry that was signed, or one after it, was changed, dropped or moved; or what is
            there does not extend what was published (``rewritten``).
        RefusedError: what was published is not of this key (``signature``, ``origin``, ``malformed``).
    """

    def __init__(self, folder: Path, signer: NoteSigner) -> None:
        self._path = folder / ENTRIES
        self._signer = signer
        self._published = folder / PUBLISHED
        self._forget()
        with exclusive(self._path):
            self._pass_over()
            self._take_in()
            self._require_published()

    @property
    def key(self) -> NoteKey:
        """What others check its checkpoints by."""
        return self._signer.key

    def __len__(self) -> int:
        """Number of entries, as last seen."""
        return len(self._tree)

    def entries(self) -> tuple[Entry, ...]:
        """All entries, those of other writers too, each of them checked.

        Raises:
            LedgerCorruptError: an entry was changed, dropped or moved.
        """
        with self._held():
            return self._all()

    def checkpoint(self) -> Checkpoint:
        """The state as last seen."""
        return Checkpoint(self.key.name, len(self._tree), self._tree.root())

    def append(self, events: Sequence[Event], now: int) -> tuple[Entry, ...]:
        """Enter a batch; on return it is on stable storage and under a published checkpoint.

        Raises:
            InputError: a body is not made of plain JSON values.
            DiskFullError, OSError: it cannot be written; nothing of the batch counts.
            NotPublishedError: all of it is entered; its checkpoint is published with the next batch.
        """
        with self._held():
            return self._append(events, now)

    def prove(self, number: int) -> LogProof:
        """That an entry is in the log as it is now.

        Raises:
            InputError: there is no such entry, or what it said was erased.
            LedgerCorruptError: it is an older one, and an entry was changed, dropped or moved.
        """
        with self._held():
            if 0 <= number < self._first:
                self._all()
            if not self._first <= number < len(self) or self._entries[number - self._first].erased:
                raise InputError(f"there is no entry {number} to be shown", where=str(self._path))
            path = tuple(self._tree.inclusion_proof(number))
            return LogProof(self._entries[number - self._first], path, self.checkpoint().sign(self._signer))

    def erase(self, numbers: Sequence[int]) -> None:
        """Forget what entries said (a name that must go); every root and proof of another entry stays.

        Raises:
            InputError: there is no such entry.
            DiskFullError: no room; nothing is erased.
        """
        with self._held():
            self._erase(numbers)

    def publish_again(self) -> bool:
        """Write what witnesses read anew, where any of it is lost or altered; whether that was so. Checks everything.

        Raises:
            LedgerCorruptError: an entry was changed, dropped or moved; nothing is written.
            NotPublishedError: it cannot be written.
        """
        with self._held():
            self._all()
            self._require_published()
            signed = signed_checkpoint(self._published, self.key)
            if signed == (self.checkpoint() if len(self) else None) and are_tiles_of(self._published, self._tree):
                return False
            self._publisher = Publisher(self._published)
            self._publish("not published again")
        return True

    def revise(self, decide: Callable[[tuple[Entry, ...]], Change], now: int) -> Change:
        """Change the log by what stands in it, with nobody writing in between; what was decided.

        Raises:
            InputError, DiskFullError, OSError, NotPublishedError: see :meth:`erase` and :meth:`append`.
        """
        with self._held():
            change = decide(self._all())
            if change.erase:
                self._erase(change.erase)
            if change.enter:
                self._append(change.enter, now)
        return change

    @contextmanager
    def _held(self) -> Iterator[None]:
        """The file, for this process alone, with all that others have added taken in."""
        with exclusive(self._path):
            self._take_in()
            yield

    def _append(self, events: Sequence[Event], now: int) -> tuple[Entry, ...]:
        made: list[Entry] = []
        prev = self._prev
        for number, event in enumerate(events, len(self)):
            made.append(entry(number, prev, event.kind.value, now, event.body))
            prev = made[-1].hash
        try:
            append_durably(self._path, b"".join(map(line, made)))
        except BaseException:  # an interrupt too may come between two writes
            if self._path.exists():
                os.truncate(self._path, self._offset)
            raise
        self._take_in()
        self._publish("entered in the log, and not published yet")
        return tuple(made)

    def _publish(self, otherwise: str) -> None:
        try:
            self._publisher.publish(self._tree, self.checkpoint(), self._signer)
        except (DiskFullError, OSError) as error:
            raise NotPublishedError(
                f"{otherwise}: {error}",
                where=str(self._published),
                mend="mend the folder; the next entry publishes this one too",
            ) from error

    def _erase(self, numbers: Sequence[int]) -> None:
        if not all(0 <= number < len(self) for number in numbers):
            raise InputError("an entry that is to be erased is not there", where=str(self._path))
        gone = set(numbers)
        kept = [erased(one) if one.seq in gone and not one.erased else one for one in self._all()]
        write_atomic(self._path, b"".join(map(line, kept)))
        self._take_in()

    def _require_published(self) -> None:
        """That the log extends what its key has signed: it would sign another history else."""
        signed = signed_checkpoint(self._published, self.key)
        if signed is not None and (len(self) < signed.size or self._tree.root(signed.size) != signed.root):
            raise LedgerCorruptError(
                "rewritten",
                f"the log has {len(self)} entries and does not extend the {signed.size} that it published",
                where=str(self._path),
                mend=_MEND,
            )

    def _forget(self) -> None:
        """As if nothing was read: the entries from number ``_first`` on, and where in which file the last one ends."""
        self._first, self._entries, self._tree = 0, list[Entry](), MerkleTree()
        self._file, self._offset, self._last, self._prev = 0, 0, b"", GENESIS
        self._publisher = Publisher(self._published)

    def _pass_over(self) -> None:
        """Leave unread what was signed, where its end is as it was."""
        end = signed_end(self._path, self._published, self.key)
        if end is not None:
            self._first, self._tree = len(end.tree), MerkleTree(before=end.tree)
            self._file, self._offset = self._path.stat().st_ino, end.offset
            self._last, self._prev = end.line, end.hash
            self._publisher = Publisher(self._published, len(end.tree))

    def _all(self) -> tuple[Entry, ...]:
        """Every entry; those that were passed over are read, and must be what was signed."""
        if self._first:
            self._take_anew(self._path.stat().st_ino)
        return tuple(self._entries)

    def _take_in(self) -> None:
        """Read what is new; a file that was replaced is read whole, and must begin with what was seen of the other."""
        try:
            found = self._path.stat().st_ino
            rest = self._rest(found)
        except FileNotFoundError:
            found, rest = 0, None if len(self) else b""
        if rest is None:
            self._take_anew(found)
        else:
            self._file = found
            self._add(rest, self._walk(rest, len(self), self._prev))

    def _take_anew(self, found: int) -> None:
        """Read a file that is not the one read so far; nothing of it is believed before it extends what was seen."""
        data = self._bytes()
        entries = self._walk(data, 0, GENESIS)
        anew = MerkleTree(bytes.fromhex(one.hash) for one in entries)
        if len(anew) < len(self._tree) or anew.root(len(self._tree)) != self._tree.root():
            raise LedgerCorruptError(
                "rewritten", "the log does not begin with what was seen of it", where=str(self._path), mend=_MEND
            )
        self._forget()
        self._file = found
        self._add(data, entries)

    def _walk(self, data: bytes, first: int, prev: str) -> list[Entry]:
        """The entries in what was read, checked; what is said of a broken one is of a log and not of a ledger."""
        try:
            return list(walk(split(data)[0], first=first, prev=prev))
        except LedgerCorruptError as error:
            what = f"log {error.what.removeprefix('ledger ')}"
            raise LedgerCorruptError(error.reason, what, where=str(self._path), mend=_MEND) from error

    def _add(self, data: bytes, entries: Sequence[Entry]) -> None:
        complete, torn = split(data)
        if torn or len(complete) > len(data):
            self._mend(len(data) - len(torn), complete[len(data) :])
        for one in entries:
            self._entries.append(one)
            self._tree.append(bytes.fromhex(one.hash))
        if entries:
            self._offset += len(complete)
            self._last, self._prev = line(entries[-1]), entries[-1].hash

    def _bytes(self) -> bytes:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""

    def _rest(self, found: int) -> bytes | None:
        """What follows the entries read so far; None when it is not the file that they were read from."""
        if found != self._file:
            return None
        with self._path.open("rb") as file:  # the number of a file that is gone may be given to its successor
            file.seek(self._offset - len(self._last))
            return file.read() if file.read(len(self._last)) == self._last else None

    def _mend(self, keep: int, ending: bytes) -> None:
        """Cut off the part of an entry that a crash left, or add the line end that it took."""
        with disk_errors(self._path), self._path.open("r+b") as file:
            file.truncate(self._offset + keep)
            file.seek(0, os.SEEK_END)
            file.write(ending)
            file.flush()
            os.fsync(file.fileno())
