"""One process at a time: an advisory lock beside the file that it guards."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["exclusive", "is_held", "let_go"]


@contextmanager
def exclusive(path: Path, *, patient: bool = True) -> Iterator[None]:
    """Hold ``<path>.lock`` for the block; waits for other threads and processes, if it is patient.

    The lock is a file of its own because ``path`` is replaced, not rewritten. The system drops the lock when its
    holder dies, so a crash never leaves one behind. A process that was forked within the block, and lives on, does not
    keep it either (:func:`let_go`).

    Raises:
        BlockingIOError: it is not patient, and somebody holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    process = os.getpid()
    fd = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if patient else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        let_go(fd, process)


def let_go(fd: int, process: int) -> None:
    """Close a file and drop the lock on it.

    To close it would not do: of a process that was forked meanwhile the file stays open, and the lock with it. Should
    it be that one which closes the file, it takes nobody's lock.

    Args:
        fd: of the file.
        process: that has opened it.
    """
    try:
        if os.getpid() == process:
            fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


def is_held(path: Path) -> bool:
    """Whether somebody on this machine holds ``<path>.lock``, in whichever container; nothing is made or changed."""
    try:
        fd = os.open(path.with_name(f"{path.name}.lock"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    process = os.getpid()
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        let_go(fd, process)
    return False
