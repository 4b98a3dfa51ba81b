"""Group commit: many files are on stable storage after one wait.

``fsync`` takes a disk's time for each file: four milliseconds where the file system has a journal, whether it holds
ten bytes or a megabyte. Databases wait once for many transactions; here a thread of its own waits for all files that
were written since it last looked, by ``fsync`` for a few of them and by one ``syncfs(2)`` for many.
"""

import ctypes
import functools
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from skerry.syncer import Job

__all__ = ["GroupSync"]

_GATHER_S = 0.02  # in which further files may come, if nobody waits: each look costs a processor 0.1 ms and more
_MANY = 4  # files; one syncfs takes about as long as so many fsync (ext4, measured: 7 to 15 ms against 4)
_SOUND = frozenset({"ext4", "xfs"})
"""File systems whose ``syncfs`` writes data, metadata and the disk's cache. That of FUSE may do nothing at all."""
_MOUNTS = Path("/proc/self/mountinfo")
_TOLD_SINCE = (5, 17)
"""The Linux from which on ``syncfs`` tells of all that was lost: of data since 5.8 (``syncfs(2)``), but what the file
system's own ``sync_fs`` says, the commit of its journal, was thrown away until 5.17."""

_Done = Callable[[int, OSError | None], None]
_Asked = tuple[Job, int, bool, int, _Done]


class GroupSync:
    """Waits for the disk in a thread of its own; to be used in a block, which waits for everything begun in it.

    It lets some milliseconds pass after the first file, so that more may come, unless it is told to :meth:`hurry`.

    Guarantee: a job is over, without a failure, only when what had been written to its file before :meth:`begin` is on
    stable storage. ``syncfs`` speaks for the files of one file system that were written after the block was entered;
    whatever else (another file system, an older Linux, one that is not known to be sound) is left to each file's own
    ``fsync``. So is everything from the first ``syncfs`` on that tells of a loss, be it another program's: it tells
    that once, and what was lost may be of a file that is begun only later. After a ``syncfs`` one file is asked by
    ``fsync`` all the same: it fails where the file system has given its journal up.

    Args:
        folder: on the file system on which the files will be.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._queue: SimpleQueue[_Asked | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="group-sync", daemon=True)
        self._hurry = threading.Event()
        self._anchor = -1
        self._device: int | None = None
        self._lost = False

    def begin(self, fd: int, size: int, done: _Done) -> Job:
        """Have a file synced. The file must stay open until the job is over.

        Args:
            fd: of the file, which was written to.
            size: handed to ``done``.
            done: called in the thread with ``size`` and what went wrong, or None; what it raises is the job's failure.
        """
        job = Job()
        near = self._device is not None and os.fstat(fd).st_dev == self._device
        self._queue.put((job, fd, near, size, done))
        return job

    def hurry(self) -> None:
        """Somebody waits: gather no more files, sync those that are here."""
        self._hurry.set()

    def __enter__(self) -> Self:
        # What is lost is told to files that were opened before: this one was, before anything of the group is written.
        self._anchor = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        device = os.fstat(self._anchor).st_dev
        self._device = device if _syncfs_is_sound(device) else None
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self.hurry()
        self._thread.join()
        os.close(self._anchor)

    def _serve(self) -> None:
        going_on = True
        while going_on:
            asked = [self._queue.get()]
            self._hurry.wait(_GATHER_S)
            self._hurry.clear()  # whoever hurries has begun its jobs before: they are taken now
            while not self._queue.empty():
                asked.append(self._queue.get())
            going_on = None not in asked
            self._sync([one for one in asked if one is not None])

    def _sync(self, asked: list[_Asked]) -> None:
        beside = [fd for _, fd, near, _, _ in asked if near]
        known: dict[int, OSError | None] = {}
        if len(beside) >= _MANY and not self._lost:
            self._lost = not _syncfs(self._anchor)
            if not self._lost:
                known[beside[0]] = _fsync(beside[0])  # a file's loss is told once: what was said of this one is kept
                if known[beside[0]] is None:
                    known = dict.fromkeys(beside)
        for job, fd, _, size, done in asked:
            job.do(done, size, known[fd] if fd in known else _fsync(fd))


def _syncfs(fd: int) -> bool:
    """Whether everything that was written to its file system before is on stable storage."""
    return bool(_libc().syncfs(fd) == 0)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _fsync(fd: int) -> OSError | None:
    try:
        os.fsync(fd)
    except OSError as error:
        return error
    return None


def _syncfs_is_sound(device: int) -> bool:
    if sys.platform != "linux" or _release() < _TOLD_SINCE:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = _MOUNTS.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return False
    kinds = {line.partition(" - ")[2].split(" ")[0] for line in mounts if line.split(" ")[2:3] == [number]}
    return len(kinds) == 1 and kinds <= _SOUND


def _release() -> tuple[int, ...]:
    major, _, rest = os.uname().release.partition(".")
    minor = rest.partition(".")[0]
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else (0, 0)
