"""One agent for each home: a lock that its holder's death releases."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skerry.errors import RefusedError

__all__ = ["alone", "holder"]

_MEND = "stop it first (Ctrl-C, or `systemctl stop`)"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only agent of this folder for the block.

    Raises:
        RefusedError: another process is (``agent_running``).
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.pread(fd, 20, 0).decode(errors="replace").strip()
            raise RefusedError(
                "agent_running",
                f"an agent (process {pid or '?'}) runs with this home already",
                where=str(folder.parent),
                mend=_MEND,
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def holder(folder: Path) -> int | None:
    """The process that is this folder's agent; None when there is none."""
    try:
        fd = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.pread(fd, 20, 0) or b"0")
    else:
        return None
    finally:
        os.close(fd)
