"""Files that are either whole or absent: atomic writes, durable appends, and a clear word when the disk is full."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from skerry.errors import DiskFullError

__all__ = [
    "WriteBehind",
    "append_durably",
    "disk_errors",
    "home",
    "require_space",
    "sync_files",
    "sync_folder",
    "sync_path",
    "write_atomic",
    "write_json",
    "write_new",
]


def home() -> Path:
    """Where skerry keeps built base models and other caches: ``$SKERRY_HOME``, else the user's cache folder."""
    chosen = os.environ.get("SKERRY_HOME")
    if chosen:
        return Path(chosen).expanduser().resolve()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "skerry"


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn "no space left" and "quota exceeded" into a :class:`DiskFullError` that names the path."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFullError(
                "no space left on the device",
                where=str(path),
                mend="free some space, or choose another folder with --runs-dir or SKERRY_HOME",
            ) from error
        raise


class WriteBehind:
    """A file that is written from its beginning, of which the system puts every 32 MiB on the disk while more are made.

    Left to itself Linux keeps them until they are many or somebody waits for them. What is on the disk leaves memory;
    nothing is on *stable* storage before an ``fsync``. Where the system takes no such advice it only writes.

    Args:
        file: open for writing, at its beginning.
    """

    _STEP = 32 << 20

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._written = self._told = 0

    def write(self, data: bytes | memoryview) -> int:
        """As of a file."""
        self._written += self._file.write(data)
        if self._written - self._told >= self._STEP and hasattr(os, "posix_fadvise"):
            self._file.flush()
            length = self._written - self._told
            os.posix_fadvise(self._file.fileno(), self._told, length, os.POSIX_FADV_DONTNEED)
            self._told = self._written
        return len(data)


def require_space(folder: Path, needed: int) -> None:
    """Refuse early when fewer than ``needed`` bytes are free where ``folder`` lies (or will lie)."""
    existing = next(p for p in [folder, *folder.parents] if p.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise DiskFullError(
            f"{needed >> 20} MiB are needed and {free >> 20} MiB are free",
            where=str(folder),
            mend="free some space, or choose another folder with --runs-dir or SKERRY_HOME",
        )


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    """Write beside, flush, rename: a reader sees the old file or the new one, never a part.

    Args:
        path: the file; its folder is made when missing.
        data: the whole content.
        mode: permission bits; ``0o600`` for secrets, set before any byte is written.
        durable: fsync the file and its folder before returning.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(fd, "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        if durable:
            sync_folder(path.parent)


def write_new(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file where there is none, at once under its name; it replaces nothing.

    For files that nobody reads before their writer has put them on stable storage, and has said so: of a writer that is
    stopped a part may be left.

    Args:
        path: the file; its folder is there.
        data: the whole content.
        mode: permission bits, set before any byte is written.

    Raises:
        FileExistsError: something has that name.
        DiskFullError: no room.
    """
    with disk_errors(path):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            os.fchmod(fd, mode)  # whatever the process masks
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        finally:
            os.close(fd)


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Write readable JSON atomically (NaN and infinities are refused: they are not JSON)."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomic(path, text.encode() + b"\n", durable=durable)


def append_durably(path: Path, line: bytes) -> None:
    """Append one record and return only when it is on stable storage."""
    with disk_errors(path):
        new = not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            view = memoryview(line)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        if new:
            sync_folder(path.parent)


def sync_files(folder: Path) -> None:
    """Put a folder's files, and then their names, on stable storage: before it gets the name by which it is found."""
    for path in folder.iterdir():
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Put a folder's entries (new and renamed files) on stable storage."""
    sync_path(folder)


def sync_path(path: Path) -> None:
    """Put a file's content, or a folder's entries, on stable storage."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
