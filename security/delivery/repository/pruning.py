"""What a repository needs no more: versions that nobody goes back to, and files that nothing names.

Versions are dropped when somebody says so, and never the newest two, nor one that was the newest within the grace: a
device that fetches it now finishes, and the publisher can go back to it. Files that neither metadata nor a manifest
names (superseded metadata, what a killed publisher left, what belonged to a dropped version) are noted when they are
first seen, and deleted once they have been so for the grace, a day at least; no device asks for them any more by then.
Every root stays: devices walk from the one that they know to the newest.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from skerry.canonical import sha256_hex
from skerry.errors import InputError
from skerry.fsio import write_json
from skerry.security.delivery.bins import read_index
from skerry.security.delivery.manifest import Manifest
from skerry.security.delivery.repository.files import metadata_path, read_metadata, target_path
from skerry.security.delivery.repository.releasing import published
from skerry.security.delivery.repository.repository import Repository
from skerry.security.delivery.repository.roles import TOP_LEVEL

__all__ = ["FEWEST", "GRACE_DAYS", "Swept", "drop_versions", "sweep"]

FEWEST = 2
"""Versions that always stay: the newest, and the one before, to which a publisher may have to go back at once."""
GRACE_DAYS = 7
"""A device fetches what it saw when it began; none takes longer than this."""
MOST_GRACE_DAYS = 365
_LEAST_FILE_DAYS = 1  # a device that looked a moment ago still asks for what was named then
_DAY_MS = 86_400_000
_NOTED = ".unnamed.json"


@dataclass(frozen=True)
class Swept:
    """Files that went, with their bytes, and files that wait for the end of the grace."""

    files: int
    size: int
    waiting: int


def drop_versions(
    repository: Repository, model: str, *, keep: int, now: int, grace_days: int = GRACE_DAYS
) -> list[int]:
    """Name all but the newest versions of a model no more; which went.

    Args:
        repository: with the model's key at hand.
        model: of the repository.
        keep: how many stay, at least :data:`FEWEST`.
        now: ms since the epoch.
        grace_days: a version whose successor is younger stays too.

    Raises:
        InputError: fewer are to stay, the grace is longer than a year or below 0, there is no such model, or a key
            is not at hand.
    """
    if not 0 <= grace_days <= MOST_GRACE_DAYS:
        raise InputError(f"the grace is 0 to {MOST_GRACE_DAYS} days, not {grace_days}", where=model)
    if keep < FEWEST:
        raise InputError(f"at least the newest {FEWEST} versions stay, for a device may have to go back", where=model)
    if model not in repository.models:
        raise InputError(f"the repository has no model {model!r}", where=str(repository.folder))
    with repository.one_at_a_time():
        paths = published(repository, model)
        made = {number: Manifest.from_bytes(repository.read_target(model, paths[number])).created for number in paths}
        numbers = sorted(made)
        superseded = {number: made[later] for number, later in pairwise(numbers)}
        gone = [number for number in numbers[:-keep] if superseded[number] <= now - grace_days * _DAY_MS]
        if gone:
            begins = tuple(f"{model}/{number}/" for number in gone)
            repository.drop(model, [path for path in repository.targets(model) if path.startswith(begins)])
    return gone


def sweep(repository: Repository, *, now: int, grace_days: int = GRACE_DAYS) -> Swept:
    """Delete the files that nothing has named for the grace, and note those that nothing names now.

    Whoever changes the repository is waited for: metadata lies there before the timestamp that names it.

    Args:
        repository: its keys are not needed.
        now: ms since the epoch.
        grace_days: counts as one day where it is less.

    Raises:
        InputError: metadata, a manifest or a list of bins is not what was signed: nothing is deleted.
    """
    folder, grace = repository.folder, max(grace_days, _LEAST_FILE_DAYS) * _DAY_MS
    with repository.one_at_a_time(), repository.changing():
        here = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
        unnamed = here.keys() - set(_named(folder))
        known = _noted(folder)
        noted = {name: min(known.get(name, now), now) for name in sorted(unnamed)}
        due = [name for name, since in noted.items() if now - since >= grace]
        size = sum(here[name].stat().st_size for name in due)
        for name in due:
            here[name].unlink()
            del noted[name]
        if noted or known:
            write_json(folder / _NOTED, noted)
    return Swept(len(due), size, len(noted))


def _files(folder: Path) -> Iterator[Path]:
    for part in ("metadata", "targets", "blobs"):
        yield from (path for path in (folder / part).rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    # Of base models, which stay, only what a killed process had under way.
    yield from (path for path in (folder / "bases").rglob(".*") if path.is_file())


def _named(folder: Path) -> Iterator[str]:
    """Every file that a device or a publisher may ask for, relative to the folder."""
    metadata = read_metadata(folder)
    for path in (folder / "metadata").glob("*.root.json"):
        yield path.relative_to(folder).as_posix()
    for role, one in metadata.items():
        yield metadata_path(folder, role, one.signed.version).relative_to(folder).as_posix()
    for model in (role for role in metadata if role not in TOP_LEVEL):
        for path, target in metadata[model].signed.targets.items():
            digest = target.hashes["sha256"]
            file = target_path(folder, path, digest)
            yield file.relative_to(folder).as_posix()
            if path.endswith("/manifest.cbor"):
                yield from (f"blobs/{name}" for name in _blobs(folder, Manifest.from_bytes(_signed(file, digest))))


def _blobs(folder: Path, manifest: Manifest) -> Iterator[str]:
    yield from (file.blob for file in manifest.files)
    yield from (delta.blob for delta in manifest.deltas)
    yield manifest.wraps
    yield from read_index(_signed(folder / "blobs" / manifest.wraps, manifest.wraps))


def _signed(path: Path, digest: str) -> bytes:
    """A small file that is what was signed."""
    data = path.read_bytes() if path.is_file() else b""
    if sha256_hex(data) != digest:
        raise InputError("a file is not what was signed", where=str(path), mend="restore it from a copy")
    return data


def _noted(folder: Path) -> dict[str, int]:
    """File → since when nothing names it, ms; a note that cannot be read only begins anew."""
    try:
        value = json.loads((folder / _NOTED).read_text("utf-8"))
        return {name: since for name, since in value.items() if type(since) is int}
    except (OSError, ValueError, AttributeError):
        return {}
