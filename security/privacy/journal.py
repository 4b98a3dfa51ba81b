"""The file under a ledger: one writer, append only, and a disk that is waited for."""

import fcntl
import os
from pathlib import Path

from skerry.errors import InputError, RefusedError
from skerry.fsio import append_durably, disk_errors, write_atomic
from skerry.group_sync import GroupSync
from skerry.security.locking import let_go
from skerry.syncer import Job, Syncer

__all__ = ["Journal"]


class Journal:
    """An open file and its lock, until :meth:`close`. Its owner lets one thread call at a time.

    Until a sync has returned nobody knows what is on the disk. Should it fail, only reading the file again tells:
    nothing more is written before it was opened anew. Refused in a forked child.

    Raises:
        InputError: there is no such file.
        RefusedError: another writer holds it (``ledger_in_use``).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._process = os.getpid()
        self._writable = True
        self._syncing: Job | None = None
        self._left: _State | None = None
        self._rests = False
        self._fd = _locked(path)
        self._size = os.fstat(self._fd).st_size
        self._note(self._size)
        if not self.untouched():  # it was replaced (an erasure) between opening and locking: ours has no name any more
            self.close()
            raise RefusedError(
                "ledger_in_use", "somebody else has just rewritten this ledger", where=str(path), mend="try again"
            )

    def read(self) -> bytes:
        """Everything that is known to be on stable storage, or was there when the file was opened."""
        return os.pread(self._fd, self._size, 0)

    def mend(self, complete: bytes, torn: bytes) -> None:
        """Bring the end in order: ``torn`` goes to ``<name>.torn``, a line end that is missing is added."""
        if torn:
            append_durably(self._path.with_name(f"{self._path.name}.torn"), torn + b"\n")
            os.ftruncate(self._fd, len(complete))
        elif len(complete) > self._size:
            with disk_errors(self._path):
                os.write(self._fd, b"\n")
        else:
            return
        os.fsync(self._fd)
        self._size = len(complete)
        self._note(self._size)

    def sync(self) -> None:
        """Return when everything that :meth:`read` gives is on stable storage.

        What a process wrote that was killed before its sync is read by the next one, and may be lost with the power.
        """
        with disk_errors(self._path):
            os.fsync(self._fd)

    def append(self, data: bytes, syncer: Syncer | GroupSync | None) -> Job:
        """Write, and begin to sync: the job tells when ``data`` is on stable storage, or why it is not.

        Args:
            data: whole lines.
            syncer: whose thread waits for the disk; ``None`` waits here.

        Raises:
            RefusedError: the file was closed, crossed a fork, or an earlier sync failed or is not over
                (``ledger_closed``).
            DiskFullError: no room; nothing is written.
        """
        if not self._writable or os.getpid() != self._process:
            raise RefusedError(
                "ledger_closed", "this ledger can no longer be written to", where=str(self._path), mend="open it again"
            )
        self._writable = False
        with disk_errors(self._path):
            try:
                done = 0
                while done < len(data):
                    done += os.write(self._fd, data[done:])
            except OSError:
                os.ftruncate(self._fd, self._size)
                self._note(self._size)
                self._writable = True
                raise
        after = self._size + len(data)
        self._note(after)
        if isinstance(syncer, GroupSync):
            self._syncing = syncer.begin(self._fd, after, self._synced)
        elif syncer is not None:
            self._syncing = syncer.begin(self._sync, after)
        else:
            self._syncing = Job().do(self._sync, after)
        return self._syncing

    def replace(self, data: bytes) -> None:
        """Put ``data`` in the file's place, whole or not at all; on return it is on stable storage. Then only close.

        Raises:
            DiskFullError: no room; the file is as it was.
        """
        self._writable = False
        write_atomic(self._path.resolve(), data)  # where the path is a link, the file is replaced and not the link

    def untouched(self) -> bool:
        """Whether the file at the path is the one that is open, as this journal left it: nobody else has written.

        By identity, size and time of the last change, whose grain is the file system's (a few milliseconds).
        """
        try:
            return self._left == _state(self._path.stat())
        except OSError:
            return False

    def rest(self) -> None:
        """Let go of the file and its lock until :meth:`wake`, once a sync that is under way is done."""
        if self._syncing is not None and self._process == os.getpid():
            self._syncing.failure()
        sound = self._writable
        self.close()
        self._rests = sound

    def wake(self) -> bool:
        """Take the file and its lock again; whether it is untouched. If not, only :meth:`close` is left to do.

        Raises:
            RefusedError: another writer holds it (``ledger_in_use``).
        """
        if self._rests and os.getpid() == self._process:
            self._rests = False
            try:
                self._fd = _locked(self._path)
            except InputError:  # it is gone
                return False
            self._writable = self._left == _state(os.fstat(self._fd))
        return self._writable and self.untouched()

    def close(self) -> None:
        """Let go of the file and its lock, once a sync that is under way is done; again is harmless."""
        if self._syncing is not None and self._process == os.getpid():
            self._syncing.failure()
        fd, self._fd, self._writable = self._fd, -1, False
        if fd >= 0:
            let_go(fd, self._process)

    def _sync(self, size: int) -> None:
        with disk_errors(self._path):
            os.fsync(self._fd)
        self._synced(size, None)

    def _synced(self, size: int, failure: OSError | None) -> None:
        if failure is not None:
            with disk_errors(self._path):
                raise failure
        self._size = size
        self._writable = True

    def _note(self, size: int) -> None:
        """Remember how the file was left; another size than ours is somebody else's work, and never untouched."""
        found = os.fstat(self._fd)
        self._left = _state(found) if found.st_size == size else None


def _locked(path: Path) -> int:
    """The file, open for one writer: this one."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise InputError("there is no ledger", where=str(path)) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise RefusedError(
            "ledger_in_use",
            "somebody else is writing to this ledger",
            where=str(path),
            mend="stop the other process first: two writers would each spend the same budget",
        ) from error
    return fd


_State = tuple[int, int, int, int]


def _state(found: os.stat_result) -> _State:
    return found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns
