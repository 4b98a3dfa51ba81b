"""Reading versions back: whom they are for, and their files as the base of a delta or to be published again."""

from pathlib import Path

from skerry.security.delivery.bins import bins_in, key_in, names_in
from skerry.security.delivery.installing import decrypt_file
from skerry.security.delivery.manifest import Manifest
from skerry.security.identity import Identity

__all__ = ["open_version", "recipients_of"]


def open_version(repository: Path, manifest: Manifest, reader: Identity, folder: Path) -> dict[str, Path]:
    """Decrypt the files of a version into a folder; file name → where.

    Raises:
        ReleaseRefusedError: ``reader`` was not among its recipients, or a blob is not what was signed.
    """
    blobs = repository / "blobs"
    key = key_in(blobs, manifest, reader)
    files = {file.name: folder / file.name for file in manifest.files}
    for file in manifest.files:
        decrypt_file(blobs / file.blob, files[file.name], file, key, manifest.cipher)
    return files


def recipients_of(repository: Path, manifest: Manifest) -> list[str]:
    """Names of who can open a version, sorted.

    Raises:
        ReleaseRefusedError: the wraps are not those that were signed.
    """
    return sorted(name for data in bins_in(repository / "blobs", manifest)[1] for name in names_in(data))
