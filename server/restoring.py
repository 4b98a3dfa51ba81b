"""A backup (:mod:`~skerry.server.backup`) is read, and put back: whole or not at all, and mixed with nothing.

What is cut off, altered, or of another passphrase is refused before a file is in place.

What a backup cannot know is what came after it. Devices keep ledgers of their own, in which what they spent since
stands; and they refuse releases older than what they have. Whether an invitation was used since is known to nobody, so
all that are open end.
"""

import json
import os
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from skerry.errors import InputError, RegistryError
from skerry.fsio import disk_errors, sync_folder
from skerry.server.backup import SUMMARY, Contents
from skerry.server.registry.file import FILE as REGISTRY
from skerry.server.registry.file import RegistryFile
from skerry.server.registry.invites import end_invites
from skerry.server.sealed_archive import open_stream

__all__ = ["Restored", "read_backup", "restore_backup"]


@dataclass(frozen=True)
class Restored:
    """What became of a backup.

    Attributes:
        contents: what it says of itself.
        ended_invites: how many invitations were open and are not any more; None where the registry cannot be read.
    """

    contents: Contents
    ended_invites: int | None


def read_backup(source: Path, passphrase: bytes) -> Contents:
    """Read a backup to its end, and say what is in it; nothing is kept.

    Raises:
        InputError: no backup.
        RefusedError: as :func:`restore_backup`.
    """
    return open_stream(source, lambda pipe: _take(pipe, None), passphrase)


def restore_backup(source: Path, runs: Path, passphrase: bytes, *, now: int) -> Restored:
    """Put what is in a backup into a folder of runs that does not exist yet or is empty.

    Args:
        source: the backup.
        runs: the folder.
        passphrase: of the backup.
        now: ms since the epoch; invitations that are open then end.

    Raises:
        InputError: no backup, or the folder holds something.
        RefusedError: it does not open with this passphrase (``wrong_key``), or was altered or cut off
            (``backup_altered``).
        DiskFullError: no room.
    """
    if runs.exists() and any(runs.iterdir()):
        raise InputError(
            "a backup is never mixed with what is there", where=str(runs), mend="move that folder away, or name another"
        )
    runs.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(runs):
        aside = Path(tempfile.mkdtemp(dir=runs.parent, prefix=f".{runs.name}."))
        try:
            contents = open_stream(source, lambda pipe: _take(pipe, aside), passphrase)
            restored = Restored(contents, _end_invites(aside / REGISTRY, now))
            for folder, _, names in os.walk(aside):
                for name in names:
                    _sync(Path(folder) / name)
                sync_folder(Path(folder))
            aside.replace(runs)
            sync_folder(runs.parent)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    return restored


def _take(pipe: IO[bytes], aside: Path | None) -> Contents:
    """Unpack into a folder, if any."""
    summary = b""
    with tarfile.open(fileobj=pipe, mode="r|gz") as archive:
        for member in archive:
            if member.name == SUMMARY:
                found = archive.extractfile(member)
                summary = found.read() if found else b""
            elif aside is not None:
                archive.extract(member, aside, filter=_kept)
    value: dict[str, Any] = json.loads(summary)
    said: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in value.items()}
    return Contents(**said)


def _kept(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
    """What lies within the folder, as tarfile's own filter; but links as they were, and folders as closed as they were.

    That filter gives a folder the permissions of any new one.
    """
    if member.issym():
        return member if ".." not in Path(member.name).parts and not member.name.startswith("/") else None
    kept = tarfile.data_filter(member, path)
    return kept.replace(mode=member.mode & 0o755 | 0o700) if kept is not None and member.isdir() else kept


def _end_invites(registry: Path, now: int) -> int | None:
    if not registry.exists():
        return 0
    try:
        with RegistryFile(registry).writing() as base:
            return end_invites(base, now)
    except RegistryError:  # of a newer skerry, or damaged: all else is worth having, and no desk opens with it
        return None


def _sync(path: Path) -> None:
    if path.is_symlink():
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
