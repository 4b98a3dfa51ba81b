"""Finding an entry without reading the ledger: where each line begins, by hash (SQLite).

The index is derived: it holds nothing that the ledger does not, none of what entries say, and no salt. It may
lag behind, be lost or be damaged: it is then brought up to date, or made anew, when it is next used. What it finds is
read from the ledger and checked there, so a false index can hide an entry, and never make one up.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from skerry.errors import InputError
from skerry.security.privacy.chain import GENESIS, Entry, line, lone, split, walk

__all__ = ["Index", "Place"]

_SCHEMA = """
create table if not exists entries (
  ledger text not null, seq integer not null, kind text not null, at integer not null,
  hash text not null, offset integer not null, length integer not null, primary key (ledger, seq)
) without rowid;
create index if not exists by_hash on entries (hash);
"""
_VERSION = 2


@dataclass(frozen=True)
class Place:
    """Where an entry stands: ``offset`` and ``length`` in bytes, the line end included."""

    ledger: str
    seq: int
    kind: str
    at: int
    hash: str
    offset: int
    length: int


class Index:
    """An index over the ledgers of one folder, opened for a block.

    Args:
        path: the SQLite file; where it cannot be written, the index is made in memory and lost again.
    """

    def __init__(self, path: Path) -> None:
        self._base = _connect(path)

    def refresh(self, ledger: str, path: Path) -> int:
        """Take in what the ledger at ``path`` has grown by; returns the number of entries known of it.

        Only new lines are read, when the last one known still stands where it stood; otherwise (an erasure, another
        ledger in its place) all of them.

        Raises:
            InputError: the ledger cannot be read.
            LedgerCorruptError: its chain does not hold.
        """
        try:
            with path.open("rb") as file:
                start, seq, prev = self._resume(ledger, file)
                file.seek(start)
                complete, _ = split(file.read())
        except OSError as error:
            raise InputError(f"the ledger cannot be read: {error.strerror}", where=str(path)) from error
        if seq == 0:
            self._base.execute("delete from entries where ledger = ?", (ledger,))
        with self._base:
            self._base.executemany(
                "insert into entries values (?, ?, ?, ?, ?, ?, ?)",
                _rows(ledger, complete, start, seq, prev),
            )
        return int(self._base.execute("select count(*) from entries where ledger = ?", (ledger,)).fetchone()[0])

    def find(self, prefix: str) -> list[Place]:
        """The entries whose hash begins with these hexadecimal digits."""
        high = f"{prefix}g"  # sorts after every digit
        rows = self._base.execute(
            "select ledger, seq, kind, at, hash, offset, length from entries"
            " where hash >= ? and hash < ? order by ledger, seq",
            (prefix, high),
        )
        return [Place(*row) for row in rows]

    def read(self, place: Place, path: Path) -> Entry:
        """The entry at its place, read from the ledger and checked by itself; that it is included needs a proof.

        Raises:
            InputError: the ledger cannot be read.
            LedgerCorruptError: something else stands there.
        """
        try:
            with path.open("rb") as file:
                file.seek(place.offset)
                raw = file.read(place.length)
        except OSError as error:
            raise InputError(f"the ledger cannot be read: {error.strerror}", where=str(path)) from error
        return lone(raw, place.seq, place.hash)

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _resume(self, ledger: str, file: BinaryIO) -> tuple[int, int, str]:
        """Where to go on: offset, number and previous hash of the first line that is not known yet."""
        last = self._base.execute(
            "select seq, hash, offset, length from entries where ledger = ? order by seq desc limit 1", (ledger,)
        ).fetchone()
        if last is None:
            return 0, 0, GENESIS
        seq, known, offset, length = last
        file.seek(offset)
        raw = file.read(length)
        same = len(raw) == length and raw.endswith(b"\n") and f'"hash":"{known}"'.encode() in raw
        return (offset + length, seq + 1, known) if same else (0, 0, GENESIS)


def _rows(ledger: str, complete: bytes, offset: int, seq: int, prev: str) -> "Iterator[tuple[object, ...]]":
    for entry in walk(complete, first=seq, prev=prev):
        length = len(line(entry))
        yield ledger, entry.seq, entry.kind, entry.at, entry.hash, offset, length
        offset += length


def _connect(path: Path) -> sqlite3.Connection:
    for attempt in (path, path, None):
        base = None
        try:
            base = sqlite3.connect(":memory:" if attempt is None else attempt, timeout=10)
            if base.execute("pragma user_version").fetchone()[0] not in {0, _VERSION}:
                raise sqlite3.DatabaseError("another version")
            base.executescript(f"pragma synchronous = off; {_SCHEMA} pragma user_version = {_VERSION};")
        except sqlite3.OperationalError:  # a folder that cannot be written
            if base is not None:
                base.close()
        except sqlite3.DatabaseError:  # damaged, or not ours: it is derived, so away with it
            if base is not None:
                base.close()
            path.unlink(missing_ok=True)
        else:
            return base
    raise AssertionError("an index in memory can always be made")
