"""Where a repository's metadata and targets lie, and the newest metadata of every role, read back."""

from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata

from skerry.errors import InputError

__all__ = ["metadata_path", "read_metadata", "target_path"]


def metadata_path(folder: Path, role: str, version: int) -> Path:
    """The file of a role's metadata; the timestamp's is the one without a version in its name."""
    return folder / "metadata" / ("timestamp.json" if role == "timestamp" else f"{version}.{role}.json")


def target_path(folder: Path, path: str, digest: str) -> Path:
    """The file of a target, which has its SHA-256 in its name."""
    parent, _, name = path.rpartition("/")
    return folder / "targets" / parent / f"{digest}.{name}"


def read_metadata(folder: Path) -> dict[str, Metadata[Any]]:
    """Role → its newest metadata: the newest root, and what timestamp and snapshot name.

    Raises:
        InputError: there is no repository, or a file cannot be read.
    """
    roots = sorted(int(path.name.partition(".")[0]) for path in (folder / "metadata").glob("*.root.json"))
    if not roots or not metadata_path(folder, "timestamp", 0).is_file():
        raise InputError(
            "there is no repository in this folder", where=str(folder), mend="make one with `skerry release init`"
        )
    found = {"root": _read(folder, "root", roots[-1]), "timestamp": _read(folder, "timestamp", 0)}
    found["snapshot"] = _read(folder, "snapshot", found["timestamp"].signed.snapshot_meta.version)
    for name, meta in found["snapshot"].signed.meta.items():
        role = name.removesuffix(".json")
        found[role] = _read(folder, role, meta.version)
    return found


def _read(folder: Path, role: str, version: int) -> Metadata[Any]:
    path = metadata_path(folder, role, version)
    try:
        return Metadata.from_file(str(path))
    except Exception as error:  # the library raises several kinds; all mean the same here
        raise InputError("the repository's metadata cannot be read", where=str(path)) from error
