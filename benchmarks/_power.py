"""What a power cut takes from a device: what its agent wrote and did not give to the disk to keep.

Whoever is killed leaves what it wrote with the kernel; only a power cut shows what was never synced. So the agent's
process notes what it syncs (:func:`record_syncs`), and whoever plays the power cut takes away the rest. A disk in
memory syncs in no time, so that hardly any cut would come before it is done: it is made to take as long as a memory
card does. Whether the name of a file would have outlived the cut is not played.
"""

import os
import random
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SYNC_S = (0.05, 0.2)
LEDGER = "ledger.jsonl"


@dataclass(frozen=True)
class Lost:
    """Bytes that a power cut took: of the ledger, and of whole files beside it."""

    ledger: int
    files: int


def record_syncs(home: Path, record: Path, sync_s: tuple[float, float] = SYNC_S) -> None:
    """From now on ``RECORD.synced`` gets the number (inode) and the size of each file of the home that is synced.

    The ledger counts as synced as it is found, where nothing is known of it.

    Args:
        home: of the device.
        record: beside which it is noted.
        sync_s: how long a sync takes, from and to.
    """
    home = home.resolve()
    known = _synced(record)
    synced = os.open(record.with_suffix(".synced"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    ledger = home / LEDGER
    if ledger.exists() and (found := ledger.stat()).st_ino not in known:
        os.write(synced, f"{found.st_ino} {found.st_size}\n".encode())
    real = os.fsync

    def fsync(fd: Any) -> None:
        found = os.fstat(fd)
        time.sleep(random.uniform(*sync_s))
        real(fd)
        if stat.S_ISREG(found.st_mode) and Path(f"/proc/self/fd/{fd}").readlink().is_relative_to(home):
            os.write(synced, f"{found.st_ino} {found.st_size}\n".encode())

    os.fsync = fsync


def lose_power(home: Path, record: Path) -> Lost:
    """Take away what a power cut may; the agent must be dead.

    Of the ledger it is what was not synced; of the files beside it and in the agent's folder, which are replaced whole,
    it is each of which not all was.
    """
    ledger, synced = home / LEDGER, _synced(record)
    of_ledger = of_files = 0
    for path in (*home.glob("ledger.*"), *home.glob("agent/*")):
        found = path.stat()
        kept = synced.get(found.st_ino, 0)
        if not path.is_file() or kept >= found.st_size:
            continue
        if path == ledger:
            of_ledger += found.st_size - kept
            os.truncate(path, kept)
        else:
            of_files += found.st_size - kept
            path.unlink()
    return Lost(of_ledger, of_files)


def _synced(record: Path) -> dict[int, int]:
    """How much of each file was synced, by inode."""
    told = record.with_suffix(".synced")
    rows = told.read_text().splitlines() if told.exists() else []
    return {int(number): int(size) for number, size in map(str.split, rows)}
