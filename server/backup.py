"""A federation in one encrypted file, and back: registry, inbox, log, authority, releases and the runs that ended.

A backup is a compressed tar archive, sealed (:mod:`~skerry.server.sealed_archive`), whose last member, ``backup.json``,
says when it was made and of what. It holds every private key of the federation, so there is no unencrypted one. What is
cut off, altered, or of another passphrase is refused before a file is in place.

Copies are taken while servers run: databases by SQLite's own backup, the log and the repository while nobody may
change them. A run under way is left out, and named: its files are only together what a moment was. So are links to
ledgers elsewhere, which are kept as links, and files that are none of skerry's.

What a backup cannot know is what came after it. Devices keep ledgers of their own, in which what they spent since
stands; and they refuse releases older than what they have.
"""

import gzip
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from skerry.errors import InputError
from skerry.fsio import disk_errors, sync_folder
from skerry.runfolder import RunFolder, list_runs
from skerry.security.locking import exclusive
from skerry.server.federation_log import FOLDER as LOG
from skerry.server.registry.file import FILE as REGISTRY
from skerry.server.sealed_archive import check_passphrase, open_stream, seal_stream

__all__ = ["Contents", "make_backup", "read_backup", "restore_backup"]

_SUMMARY = "backup.json"
_WHOLE = ("federation", LOG, "repository", "repository.keys")
_TRANSIENT = ("logs", "server.json", "run")
_UNDER_WAY = {"preparing", "running", "finishing"}


@dataclass(frozen=True)
class Contents:
    """What a backup says of itself.

    Attributes:
        made: ms since the epoch.
        runs: those in it.
        files: how many.
        under_way: runs left out because they had not ended.
        unknown: names in the folder of runs that were left out because they are none of skerry's.
        elsewhere: links in it whose targets lie outside, and are not in it.
    """

    made: int
    runs: tuple[str, ...]
    files: int
    under_way: tuple[str, ...]
    unknown: tuple[str, ...]
    elsewhere: tuple[str, ...]


def make_backup(
    runs: Path, target: Path, passphrase: bytes, *, now: int, told: Callable[[str], None] = lambda _: None
) -> Contents:
    """Write a backup of a folder of runs, whole or not at all, for its owner's eyes only.

    Args:
        runs: the folder.
        target: the file; must not exist.
        passphrase: at least twelve bytes.
        now: ms since the epoch.
        told: hears the name of each part before it is copied.

    Raises:
        InputError: there is nothing to keep, the file exists, or the passphrase is short.
        DiskFullError: no room.
    """
    check_passphrase(passphrase)
    if target.exists():
        raise InputError("a backup is never written over another file", where=str(target), mend="choose another name")
    ended = [run for run in list_runs(runs) if run.state not in _UNDER_WAY]
    whole = [name for name in _WHOLE if (runs / name).is_dir()]
    if not ended and not whole and not (runs / REGISTRY).exists():
        raise InputError("there is nothing of a federation here", where=str(runs))
    under_way = tuple(run.id for run in list_runs(runs) if run.state in _UNDER_WAY)
    known = {*_WHOLE, REGISTRY, f"{REGISTRY}-wal", f"{REGISTRY}-shm", *(run.id for run in list_runs(runs))}
    unknown = tuple(sorted(one.name for one in runs.iterdir() if one.name not in known and one != target))
    with disk_errors(target), tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.") as file:
        made = seal_stream(
            lambda pipe: _pack(pipe, runs, whole, ended, (now, under_way, unknown), told), file, passphrase
        )
        file.flush()
        os.fsync(file.fileno())
        Path(target).hardlink_to(file.name)
        sync_folder(target.parent)
    return made


def read_backup(source: Path, passphrase: bytes) -> Contents:
    """Read a backup to its end, and say what is in it; nothing is kept.

    Raises:
        InputError: no backup.
        RefusedError: as :func:`restore_backup`.
    """
    return open_stream(source, lambda pipe: _take(pipe, None), passphrase)


def restore_backup(source: Path, runs: Path, passphrase: bytes) -> Contents:
    """Put what is in a backup into a folder of runs that does not exist yet or is empty.

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
            for folder, _, names in os.walk(aside):
                for name in names:
                    _sync(Path(folder) / name)
                sync_folder(Path(folder))
            aside.chmod(0o755)
            aside.replace(runs)
            sync_folder(runs.parent)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    return contents


def _pack(
    pipe: IO[bytes],
    runs: Path,
    whole: Sequence[str],
    ended: Sequence[RunFolder],
    said: tuple[int, tuple[str, ...], tuple[str, ...]],
    told: Callable[[str], None],
) -> Contents:
    packed: list[Path] = []
    made, under_way, unknown = said
    with (
        gzip.GzipFile(fileobj=pipe, mode="wb", compresslevel=3) as smaller,
        tarfile.open(fileobj=smaller, mode="w|") as archive,
    ):
        for name in whole:
            told(name)
            with ExitStack() as held:
                if name == LOG:
                    held.enter_context(exclusive(runs / LOG / "log.jsonl"))
                if name == "repository" and (runs / "repository.keys").is_dir():
                    held.enter_context(exclusive(runs / "repository.keys" / "repository"))
                packed += _add(archive, runs, runs / name)
        if (runs / REGISTRY).exists():
            told("registry")
            packed += _add(archive, runs, runs / REGISTRY)
        for run in ended:
            told(run.id)
            packed += _add(archive, runs, run.path)
        inside = runs.resolve()
        elsewhere = [one for one in packed if one.is_symlink() and not one.resolve().is_relative_to(inside)]
        contents = Contents(
            made, tuple(run.id for run in ended), len(packed), under_way, unknown,
            tuple(one.relative_to(runs).as_posix() for one in elsewhere),
        )  # fmt: skip
        summary = json.dumps(asdict(contents)).encode()
        entry = tarfile.TarInfo(_SUMMARY)
        entry.size = len(summary)
        archive.addfile(entry, io.BytesIO(summary))
    return contents


def _add(archive: tarfile.TarFile, runs: Path, path: Path) -> list[Path]:
    """A file, or a folder with what is below it; the files that were added."""
    files = []
    for one in _below(path):
        name = one.relative_to(runs).as_posix()
        if one.suffix == ".sqlite" and not one.is_symlink():
            with _copied(one) as copy:
                archive.add(copy, name, recursive=False)
        else:
            archive.add(one, name, recursive=False)
        if one.is_symlink() or not one.is_dir():
            files.append(one)
    return files


def _below(path: Path) -> Iterator[Path]:
    """A file, or a folder and what is below it; nothing that is only there while a process runs."""
    yield path
    if path.is_symlink() or not path.is_dir():
        return
    for one in sorted(path.iterdir()):
        passing = one.suffix == ".lock" or one.name.endswith(("-wal", "-shm")) or one.name.startswith(".")
        if path.name == "federation":
            passing |= one.name in _TRANSIENT or one.name.startswith("serving-")
        if not passing:
            yield from _below(one)


@contextmanager
def _copied(database: Path) -> Iterator[Path]:
    """A consistent copy of a database that others may be writing to."""
    with tempfile.TemporaryDirectory(prefix="skerry-backup-") as aside:
        copy = Path(aside) / database.name
        with (
            closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        copy.chmod(0o600)
        yield copy


def _take(pipe: IO[bytes], aside: Path | None) -> Contents:
    """Unpack into a folder, if any."""
    summary = b""
    with tarfile.open(fileobj=pipe, mode="r|gz") as archive:
        for member in archive:
            if member.name == _SUMMARY:
                found = archive.extractfile(member)
                summary = found.read() if found else b""
            elif aside is not None:
                archive.extract(member, aside, filter=_kept)
    value: dict[str, Any] = json.loads(summary)
    said: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in value.items()}
    return Contents(**said)


def _kept(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
    """Files and folders within the folder, as tarfile's own filter; links as they were, wherever they lead."""
    if member.issym():
        return member if ".." not in Path(member.name).parts and not member.name.startswith("/") else None
    return tarfile.data_filter(member, path)


def _sync(path: Path) -> None:
    if path.is_symlink():
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
