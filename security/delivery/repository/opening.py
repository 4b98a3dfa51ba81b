"""The publisher reads its own older versions: as the base of a delta, and to publish them again."""

from pathlib import Path

from skerry.security.delivery.bins import bin_of, open_wrap, read_index
from skerry.security.delivery.installing import decrypt_file
from skerry.security.delivery.manifest import Manifest
from skerry.security.identity import Identity

__all__ = ["open_version"]


def open_version(repository: Path, manifest: Manifest, reader: Identity, folder: Path) -> dict[str, Path]:
    """Decrypt the files of a version into a folder; file name → where.

    Raises:
        ReleaseRefusedError: ``reader`` was not among its recipients, or a blob is not what was signed.
    """
    blobs = repository / "blobs"
    bins = read_index((blobs / manifest.wraps).read_bytes())
    key = open_wrap((blobs / bins[bin_of(reader.name, len(bins))]).read_bytes(), manifest, reader)
    files = {file.name: folder / file.name for file in manifest.files}
    for file in manifest.files:
        decrypt_file(blobs / file.blob, files[file.name], file, key)
    return files
