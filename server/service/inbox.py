"""What is kept of devices' calls: receipts for good, how each device was last, and which blobs it was handed."""

import hashlib
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from skerry.clock import Clock
from skerry.errors import RefusedError, RunFailedError, SkerryError
from skerry.fsio import disk_errors

__all__ = ["Inbox", "KeptReceipt", "LastCondition", "noting_downloads"]

_log = logging.getLogger(__name__)

_DOWNLOADS = 256  # kept of one device: the newest

_TABLES = """
CREATE TABLE IF NOT EXISTS receipts (
  device TEXT NOT NULL, sha256 BLOB NOT NULL, kind TEXT NOT NULL, at INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (device, sha256)
) STRICT;
CREATE TABLE IF NOT EXISTS conditions (
  device TEXT PRIMARY KEY, at INTEGER NOT NULL,
  activity INTEGER NOT NULL, battery INTEGER NOT NULL, free_memory INTEGER NOT NULL, free_disk INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS downloads (
  device TEXT NOT NULL, blob TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (device, blob)
) STRICT;
"""


@dataclass(frozen=True)
class KeptReceipt:
    """A receipt as it came; ``at`` in ms since the epoch. The device's signature is in ``body``."""

    device: str
    kind: str
    at: int
    body: bytes


@dataclass(frozen=True)
class LastCondition:
    """The last condition a device reported; the numbers are those of ``device.proto``."""

    device: str
    at: int
    activity: int
    battery: int
    free_memory: int
    free_disk: int


class Inbox:
    """One SQLite file; safe to use from several threads.

    Args:
        path: the file; made when missing.
        most: receipts kept of one device.

    Raises:
        RunFailedError: the file cannot be used.
    """

    def __init__(self, path: Path, *, most: int) -> None:
        self._path = path
        self._most = most
        self._lock = Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as file:
            file.execute("PRAGMA journal_mode = WAL")
            file.executescript(_TABLES)

    def keep_receipt(self, device: str, kind: str, body: bytes, *, now: int) -> bool:
        """Put a receipt on stable storage; returns whether it was there already.

        Raises:
            RefusedError: the device has as many as are kept (``too_many``).
        """
        digest = hashlib.sha256(kind.encode() + b"\0" + body).digest()
        with self._open() as file:
            known = file.execute("SELECT 1 FROM receipts WHERE device = ? AND sha256 = ?", (device, digest)).fetchone()
            if known:
                return True
            (count,) = file.execute("SELECT count(*) FROM receipts WHERE device = ?", (device,)).fetchone()
            if count >= self._most:
                raise RefusedError("too_many", f"{self._most} receipts of this device are kept already", where=device)
            file.execute("INSERT INTO receipts VALUES (?, ?, ?, ?, ?)", (device, digest, kind, now, body))
        return False

    def keep_condition(self, condition: LastCondition) -> None:
        """Replace what is known of how the device is; the last ones may be lost when the machine's power is."""
        row = (condition.activity, condition.battery, condition.free_memory, condition.free_disk)
        with self._open(durable=False) as file:
            file.execute(
                "INSERT OR REPLACE INTO conditions VALUES (?, ?, ?, ?, ?, ?)", (condition.device, condition.at, *row)
            )

    def keep_download(self, device: str, blob: str, *, now: int) -> None:
        """Note that a device was handed a blob's last byte; the last ones may be lost when the machine's power is."""
        with self._open(durable=False) as file:
            file.execute("INSERT OR IGNORE INTO downloads VALUES (?, ?, ?)", (device, blob, now))
            file.execute(
                "DELETE FROM downloads WHERE device = ? AND rowid NOT IN"
                " (SELECT rowid FROM downloads WHERE device = ? ORDER BY at DESC, rowid DESC LIMIT ?)",
                (device, device, _DOWNLOADS),
            )

    def forget(self, device: str) -> None:
        """Erase all that a device handed in and was handed, also in what the file has free and logs."""
        with self._open() as file:
            file.execute("PRAGMA secure_delete = ON")
            file.execute("DELETE FROM receipts WHERE device = ?", (device,))
            file.execute("DELETE FROM conditions WHERE device = ?", (device,))
            file.execute("DELETE FROM downloads WHERE device = ?", (device,))
            file.commit()
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def downloads(self) -> dict[str, frozenset[str]]:
        """Which blobs each device was handed to the end."""
        found: dict[str, set[str]] = {}
        with self._open() as file:
            for device, blob in file.execute("SELECT device, blob FROM downloads").fetchall():
                found.setdefault(device, set()).add(blob)
        return {device: frozenset(blobs) for device, blobs in found.items()}

    def receipts(self) -> list[KeptReceipt]:
        """All receipts, oldest first."""
        with self._open() as file:
            rows = file.execute("SELECT device, kind, at, body FROM receipts ORDER BY at, device, sha256").fetchall()
        return [KeptReceipt(*row) for row in rows]

    def conditions(self) -> list[LastCondition]:
        """The last condition of every device, by name."""
        with self._open() as file:
            return [LastCondition(*row) for row in file.execute("SELECT * FROM conditions ORDER BY device").fetchall()]

    def kinds(self) -> dict[str, int]:
        """How many devices have handed in a receipt, by its kind."""
        with self._open() as file:
            return dict(file.execute("SELECT kind, count(DISTINCT device) FROM receipts GROUP BY kind").fetchall())

    def of(self, device: str) -> tuple[LastCondition | None, int]:
        """How a device said last that it is, and how many receipts it has handed in."""
        with self._open() as file:
            row = file.execute("SELECT * FROM conditions WHERE device = ?", (device,)).fetchone()
            (count,) = file.execute("SELECT count(*) FROM receipts WHERE device = ?", (device,)).fetchone()
        return None if row is None else LastCondition(*row), int(count)

    @contextmanager
    def _open(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        with self._lock, disk_errors(self._path):
            try:
                with closing(sqlite3.connect(self._path, timeout=10)) as file, file:
                    file.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                    yield file
            except sqlite3.Error as error:
                raise RunFailedError(f"the inbox cannot be used: {error}", where=str(self._path)) from error


def noting_downloads(inbox: Inbox, clock: Clock) -> Callable[[str, str], None]:
    """What notes which device fetched which blob; that it cannot costs no download."""

    def fetched(device: str, blob: str) -> None:
        try:
            inbox.keep_download(device, blob, now=clock())
        except SkerryError as error:
            _log.warning("that %s fetched a blob is not noted: %s", device, error)

    return fetched
