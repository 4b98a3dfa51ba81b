"""The base model of a run over a fleet, where its devices fetch it: ``bases/<digest>`` in the release repository.

A device knows a base by the digest in its signed instruction, and checks every file of it; so files are all there is to
it. What lies there stays: later runs and devices that come late ask for it again.
"""

import json
from pathlib import Path

from skerry.canonical import sha256_hex
from skerry.device.store import MANIFEST, model_store, read_manifest
from skerry.fsio import sync_folder, write_atomic
from skerry.runfolder import RunFolder

__all__ = ["share_base"]


def share_base(folder: RunFolder, repository: Path) -> None:
    """Put the base of a prepared run into the repository, on stable storage.

    A file that lies there is read again, and is replaced when it is not what the manifest names: a power cut or a bad
    disk may have left another. The manifest, by which devices begin, is written last.

    Args:
        folder: the run.
        repository: that the gateway serves.

    Raises:
        DiskFullError: no room.
        RefusedError: the base on this machine is damaged (``wrong_model``).
    """
    digest = json.loads((folder.path / "model" / "base.json").read_text("utf-8"))["digest"]
    if not (model_store() / digest / MANIFEST).exists():  # a network by hand has no base
        return
    source, target = read_manifest(digest), repository / "bases" / digest
    for name, wanted in source.facts["files"].items():
        if not _is(target / name, wanted):
            write_atomic(target / name, source.read(name))
    if not _is(target / MANIFEST, digest):
        write_atomic(target / MANIFEST, (source.path / MANIFEST).read_bytes())
        sync_folder(target.parent)


def _is(path: Path, wanted: str) -> bool:
    """Whether a file has that SHA-256."""
    return path.exists() and sha256_hex(path.read_bytes()) == wanted
