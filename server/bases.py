"""The base model of a run over a fleet, where its devices fetch it: ``bases/<digest>`` in the release repository.

A device knows a base by the digest in its signed instruction, and checks every file of it; so files are all there is to
it. What lies there stays: later runs and devices that come late ask for it again.
"""

import json
import secrets
import shutil
from pathlib import Path

from skerry.device.store import MANIFEST, model_store, read_manifest, whole
from skerry.fsio import disk_errors, sync_files, sync_folder
from skerry.runfolder import RunFolder

__all__ = ["share_base"]


def share_base(folder: RunFolder, repository: Path) -> None:
    """Put the base of a prepared run into the repository, whole or not at all; one that is whole there stays.

    Args:
        folder: the run.
        repository: that the gateway serves.

    Raises:
        DiskFullError: no room.
    """
    digest = json.loads((folder.path / "model" / "base.json").read_text("utf-8"))["digest"]
    source, target = model_store() / digest, repository / "bases" / digest
    if not (source / MANIFEST).exists():  # a network by hand has no base
        return
    if target.exists():
        if whole(digest, target.parent, read_manifest) is not None:
            return
        shutil.rmtree(target)
    beside = target.with_name(f".{digest}.{secrets.token_hex(4)}")
    try:
        with disk_errors(target):
            shutil.copytree(source, beside)
            sync_files(beside)
            if not target.exists():
                beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    sync_folder(target.parent)
