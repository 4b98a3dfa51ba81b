"""One process at a time: an advisory lock beside the file that it guards."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["exclusive", "is_held"]


@contextmanager
def exclusive(path: Path, *, patient: bool = True) -> Iterator[None]:
    """Hold ``<path>.lock`` for the block; waits for other threads and processes, if it is patient.

    The lock is a file of its own because ``path`` is replaced, not rewritten. The system drops the lock when its
    holder dies, so a crash never leaves one behind.

    Raises:
        BlockingIOError: it is not patient, and somebody holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if patient else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


def is_held(path: Path) -> bool:
    """Whether somebody on this machine holds ``<path>.lock``, in whichever container; nothing is made or changed."""
    try:
        fd = os.open(path.with_name(f"{path.name}.lock"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
