"""A folder with all that is below it on stable storage, after one wait for many files."""

import ctypes
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

from skerry.fsio import disk_errors, sync_path

__all__ = ["sync_tree"]

_THREADS = 8  # each waits for the disk, which answers several at a time


def sync_tree(folder: Path) -> None:
    """Put everything below a folder on stable storage: files and names, each by its own ``fsync``.

    Where the system has ``syncfs`` it writes all of it at once before, so that an ``fsync`` finds its file written and
    only tells whether it was; what that call itself says counts for nothing. Nobody may write there meanwhile.

    Raises:
        DiskFullError: no room for what was written.
        OSError: something below cannot be read, or was not written.
    """
    with disk_errors(folder):
        anchor = os.open(folder, os.O_RDONLY)
        try:
            libc = ctypes.CDLL(None)
            if hasattr(libc, "syncfs"):
                libc.syncfs(anchor)
        finally:
            os.close(anchor)
        found = [Path(path, name) for path, _, names in os.walk(folder, onerror=_told) for name in ("", *names)]
        with ThreadPoolExecutor(_THREADS) as pool:
            for synced in [pool.submit(_sync_all, found[start::_THREADS]) for start in range(_THREADS)]:
                synced.result()


def _sync_all(paths: Sequence[Path]) -> None:
    for path in paths:
        sync_path(path)


def _told(error: OSError) -> NoReturn:
    """Of itself ``os.walk`` passes over what it cannot read."""
    raise error
