"""Reading versions back: whom they are for, and their files as the base of a delta or to be published again."""

from pathlib import Path

from skerry.canonical import sha256_hex
from skerry.errors import ReleaseRefusedError
from skerry.security.delivery.bins import bin_of, names_in, open_wrap, read_index
from skerry.security.delivery.installing import decrypt_file
from skerry.security.delivery.manifest import Manifest
from skerry.security.delivery.refusal import ReleaseRefusal
from skerry.security.identity import Identity

__all__ = ["open_version", "recipients_of"]


def open_version(repository: Path, manifest: Manifest, reader: Identity, folder: Path) -> dict[str, Path]:
    """Decrypt the files of a version into a folder; file name → where.

    Raises:
        ReleaseRefusedError: ``reader`` was not among its recipients, or a blob is not what was signed.
    """
    blobs = repository / "blobs"
    bins = read_index(_read(blobs / manifest.wraps))
    key = open_wrap(_read(blobs / bins[bin_of(reader.name, len(bins))]), manifest, reader)
    files = {file.name: folder / file.name for file in manifest.files}
    for file in manifest.files:
        decrypt_file(blobs / file.blob, files[file.name], file, key, manifest.cipher)
    return files


def recipients_of(repository: Path, manifest: Manifest) -> list[str]:
    """Names of who can open a version, sorted.

    Raises:
        ReleaseRefusedError: the wraps are not those that were signed.
    """
    blobs = repository / "blobs"
    bins = set(read_index(_read(blobs / manifest.wraps)))
    return sorted(name for digest in bins for name in names_in(_read(blobs / digest)))


def _read(path: Path) -> bytes:
    """A small blob, which has the digest that it is named by."""
    data = path.read_bytes() if path.is_file() else b""
    if sha256_hex(data) != path.name:
        raise ReleaseRefusedError(
            ReleaseRefusal.WRAP_ALTERED,
            "the wraps are not those that were signed",
            where=str(path),
            mend="restore the repository from a copy",
        )
    return data
