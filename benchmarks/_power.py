"""What a power cut takes from a device: what its agent wrote and did not give to the disk to keep.

Whoever is killed leaves what it wrote with the kernel; only a power cut shows what was never synced. So the agent's
process notes what it syncs (:func:`record_syncs`), and whoever plays the power cut takes away the rest.
"""

import os
import stat
from pathlib import Path
from typing import Any


def record_syncs(home: Path, record: Path) -> None:
    """From now on ``RECORD.synced`` gets the number (inode) and the size of each file of the home that is synced."""
    home = home.resolve()
    synced = os.open(record.with_suffix(".synced"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    real = os.fsync

    def fsync(fd: Any) -> None:
        found = os.fstat(fd)
        real(fd)
        if stat.S_ISREG(found.st_mode) and Path(f"/proc/self/fd/{fd}").readlink().is_relative_to(home):
            os.write(synced, f"{found.st_ino} {found.st_size}\n".encode())

    os.fsync = fsync


def lose_power(home: Path, record: Path) -> int:
    """Take away what a power cut may; the agent must be dead. How many bytes went.

    Of the ledger it is what was not synced; of the files beside it and in the agent's folder, which are replaced whole,
    it is each of which not all was.
    """
    ledger, told = home / "ledger.jsonl", record.with_suffix(".synced")
    rows = told.read_text().splitlines() if told.exists() else []
    synced = {int(number): int(size) for number, size in map(str.split, rows)}
    lost = 0
    for path in (*home.glob("ledger.*"), *home.glob("agent/*")):
        found = path.stat()
        kept = synced.get(found.st_ino, found.st_size if path == ledger else 0)
        if not path.is_file() or kept >= found.st_size:
            continue
        lost += found.st_size - kept
        if path == ledger:
            os.truncate(path, kept)
        else:
            path.unlink()
    return lost
