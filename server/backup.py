"""A federation in one encrypted file: registry, inbox, log, authority, releases and the runs that ended.

A backup is a compressed tar archive, sealed (:mod:`~skerry.server.sealed_archive`), whose last member, ``backup.json``,
says when it was made and of what. It holds every private key of the federation, so there is no unencrypted one.
:mod:`~skerry.server.restoring` brings it back.

Copies are taken while servers run: databases as of one moment (a registry in PostgreSQL becomes a file), the log and
the repository while nobody may change them, a run that might be gone on with while nobody may go on with it. A run
under way is left out, and named: its files are only together what a moment was. So are runs whose state cannot be read,
files that are none of skerry's, and the targets of links that lie elsewhere.
"""

import gzip
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from skerry.errors import InputError
from skerry.fsio import disk_errors, sync_folder
from skerry.runfolder import RunFolder, list_runs
from skerry.security.locking import exclusive
from skerry.server.backup_members import Members
from skerry.server.federation_log import FOLDER as LOG
from skerry.server.registry.copying import file_image
from skerry.server.registry.file import FILE as REGISTRY
from skerry.server.registry.place import NOTE, database_of
from skerry.server.sealed_archive import check_passphrase, seal_stream

__all__ = ["SUMMARY", "Contents", "make_backup"]

SUMMARY = "backup.json"
"""The archive's last member: its :class:`Contents`."""

# Folders that are copied as wholes, those that belong together as one, and what is locked meanwhile.
_WHOLE: tuple[tuple[tuple[str, ...], str | None], ...] = (
    (("federation",), None),
    ((LOG,), f"{LOG}/log.jsonl"),
    (("repository", "repository.keys"), "repository.keys/repository"),
)
_ENDED = {"complete", "interrupted", "failed"}


@dataclass(frozen=True)
class Contents:
    """What a backup says of itself.

    Attributes:
        made: ms since the epoch.
        runs: those in it.
        files: how many.
        under_way: runs left out because they had not ended.
        unreadable: runs left out because what they say of their state cannot be read.
        unknown: names in the folder of runs that were left out because they are none of skerry's.
        elsewhere: links in it whose targets are not in it.
    """

    made: int
    runs: tuple[str, ...]
    files: int
    under_way: tuple[str, ...]
    unreadable: tuple[str, ...]
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
        InputError: there is nothing to keep, the file exists or its folder does not, or the passphrase is short.
        RegistryError: a database is damaged.
        DiskFullError: no room.
    """
    check_passphrase(passphrase)
    if target.exists():
        raise _in_the_way(target)
    if not target.parent.is_dir():
        raise InputError("the folder for the backup is not there", where=str(target.parent), mend="make it first")
    found = list_runs(runs)
    whole = {name for names, _ in _WHOLE for name in names}
    ended = any(_state(run) in _ENDED for run in found)
    if not ended and not any((runs / name).exists() for name in {*whole, REGISTRY, NOTE}):
        raise InputError("there is nothing of a federation here", where=str(runs))
    registry = {REGISTRY, f"{REGISTRY}-wal", f"{REGISTRY}-shm", f"{REGISTRY}.moved", NOTE}
    known = {*whole, *registry, *(run.id for run in found)}
    itself = target.resolve()
    unknown = tuple(sorted(one.name for one in runs.iterdir() if one.name not in known and one.resolve() != itself))
    with disk_errors(target), _new_file(target) as file:
        return seal_stream(lambda pipe: _pack(pipe, runs, found, (now, unknown), told), file, passphrase)


def _pack(
    pipe: IO[bytes],
    runs: Path,
    found: Sequence[RunFolder],
    said: tuple[int, tuple[str, ...]],
    told: Callable[[str], None],
) -> Contents:
    now, unknown = said
    with (
        gzip.GzipFile(fileobj=pipe, mode="wb", compresslevel=3) as smaller,
        tarfile.open(fileobj=smaller, mode="w|") as archive,
    ):
        members = Members(archive, runs)
        for names, lock in _WHOLE:
            with ExitStack() as held:
                if lock is not None and (runs / lock).parent.is_dir():
                    held.enter_context(exclusive(runs / lock))
                for name in names:
                    if (runs / name).is_dir():
                        told(name)
                        members.add(runs / name)
        if (runs / REGISTRY).exists():
            told("registry")
            members.add(runs / REGISTRY)
        elif (runs / NOTE).exists():  # wherever it comes back it is a file first
            told("registry")
            members.put(REGISTRY, file_image(database_of(runs)))
            members.files += 1
        became = {run.id: _pack_run(members, run, told) for run in found}
        contents = Contents(
            now,
            tuple(name for name, state in became.items() if state in _ENDED),
            members.files,
            tuple(name for name, state in became.items() if state not in {*_ENDED, None}),
            tuple(name for name, state in became.items() if state is None),
            unknown,
            members.elsewhere,
        )
        members.put(SUMMARY, json.dumps(asdict(contents)).encode())
    return contents


def _pack_run(members: Members, run: RunFolder, told: Callable[[str], None]) -> str | None:
    """Copy a run that has ended; the state that it was in, or None where that cannot be read."""
    with ExitStack() as held:
        if _state(run) not in {"complete", None}:  # who goes on with it takes the same lock
            held.enter_context(exclusive(run.path / "status.json"))
        state = _state(run)
        if state in _ENDED:
            told(run.id)
            status = run.status
            anew = json.dumps({**status, "state": state}, indent=2).encode() + b"\n"
            # Where it comes back, the number of a process that is gone may be another's.
            members.add(run.path, {} if status["state"] == state else {run.path / "status.json": anew})
    return state


def _state(run: RunFolder) -> str | None:
    try:
        return run.state
    except (OSError, InputError):  # damaged, or gone meanwhile
        return None


@contextmanager
def _new_file(target: Path) -> Iterator[IO[bytes]]:
    """A file that is there whole when the block is left, or not at all; never over another."""
    fd, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    beside = Path(name)
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        try:
            _put_in_place(beside, target)
        except FileExistsError as error:
            raise _in_the_way(target) from error
        sync_folder(target.parent)
    finally:
        beside.unlink(missing_ok=True)


def _put_in_place(beside: Path, target: Path) -> None:
    """Give a file its name, if nothing has it.

    Raises:
        FileExistsError: something has.
    """
    try:
        target.hardlink_to(beside)
    except FileExistsError:
        raise
    except OSError:  # FAT, exFAT and some network mounts know no links: the name is taken, then written over
        target.touch(0o600, exist_ok=False)
        beside.replace(target)


def _in_the_way(target: Path) -> InputError:
    return InputError("a backup is never written over another file", where=str(target), mend="choose another name")
