"""Checking a release folder with nothing but the publisher's public key."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skerry.errors import EnvelopeRefusedError, InputError, ReleaseRefusedError
from skerry.security.delivery.bins import bins_in, names_in
from skerry.security.delivery.manifest import MAX_MANIFEST_BYTES, Manifest, ReleaseFile
from skerry.security.delivery.refusal import ReleaseRefusal
from skerry.security.identity import PublicIdentity, verify_signature

__all__ = ["MANIFEST_DOMAIN", "ReleaseInfo", "blob_path", "read_manifest", "verify"]

MANIFEST_DOMAIN = b"skerry/delivery/1/manifest"


@dataclass(frozen=True)
class ReleaseInfo:
    """A release that was checked: manifest, devices that it has wraps for, lengths of its list of bins and of them."""

    manifest: Manifest
    recipients: tuple[str, ...]
    index_size: int
    bin_sizes: tuple[int, ...]

    @staticmethod
    def of(manifest: Manifest, index: bytes, bins: list[bytes]) -> "ReleaseInfo":
        """The release with this list of bins, and these bins of wraps."""
        names = sorted(name for data in bins for name in names_in(data))
        return ReleaseInfo(manifest, tuple(names), len(index), tuple(map(len, bins)))

    @property
    def name(self) -> str:
        """The model's name."""
        return self.manifest.name

    @property
    def version(self) -> int:
        """The release's version of that model."""
        return self.manifest.version

    @property
    def manifest_digest(self) -> str:
        """SHA-256 of the signed manifest, hexadecimal: names this release exactly."""
        return self.manifest.digest

    @property
    def total_bytes(self) -> int:
        """Bytes of the whole release as published: manifest, signature, bins of wraps and blobs."""
        blobs = sum(file.blob_size for file in self.manifest.files)
        return len(self.manifest.to_bytes()) + 64 + self.index_size + sum(self.bin_sizes) + blobs

    @property
    def device_bytes(self) -> int:
        """Bytes that one device fetches: as :attr:`total_bytes`, with one bin, the longest."""
        return self.total_bytes - sum(self.bin_sizes) + max(self.bin_sizes)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "digest": self.manifest_digest,
            "manifest": self.manifest.to_json(),
            "recipients": list(self.recipients),
            "total_bytes": self.total_bytes,
            "device_bytes": self.device_bytes,
        }


def verify(release: Path, *, publisher: PublicIdentity) -> ReleaseInfo:
    """Check everything that can be checked without a device's key; nothing is decrypted.

    Guarantee on return: the publisher signed this manifest; every blob and the set of wraps are, byte for byte,
    those that were published.

    Raises:
        InputError: there is no release in that folder.
        ReleaseRefusedError: with a :class:`~skerry.security.delivery.refusal.ReleaseRefusal`.
    """
    manifest = read_manifest(release, publisher)
    for file in manifest.files:
        with blob_path(release, file).open("rb") as blob:
            if hashlib.file_digest(blob, "sha256").hexdigest() != file.blob:
                raise ReleaseRefusedError(
                    ReleaseRefusal.BLOB_ALTERED,
                    f"the blob of {file.name!r} is not the one that was signed",
                    where=str(release),
                    mend="copy the release again",
                )
    return ReleaseInfo.of(manifest, *bins_in(release / "blobs", manifest))


def read_manifest(release: Path, publisher: PublicIdentity) -> Manifest:
    """The manifest, parsed only after its size and signature held.

    Raises:
        InputError: there is no manifest.
        ReleaseRefusedError: ``too_large``, ``not_authentic`` or ``malformed``.
    """
    where = str(release)
    try:
        data = _read_some(release / "manifest.cbor", MAX_MANIFEST_BYTES + 1)
    except FileNotFoundError as error:
        raise InputError("there is no release in this folder", where=where, mend="check the path") from error
    if len(data) > MAX_MANIFEST_BYTES:
        raise ReleaseRefusedError(ReleaseRefusal.TOO_LARGE, "the manifest is too large", where=where)
    try:
        verify_signature(publisher, MANIFEST_DOMAIN, data, _read_some(release / "manifest.sig", 65))
    except (FileNotFoundError, EnvelopeRefusedError) as error:
        raise ReleaseRefusedError(
            ReleaseRefusal.NOT_AUTHENTIC,
            f"the manifest is not signed by {publisher.name!r}",
            where=where,
            mend="check that the publisher's key is the right one; otherwise the release was altered",
        ) from error
    try:
        manifest = Manifest.from_bytes(data)
    except InputError as error:
        raise ReleaseRefusedError(ReleaseRefusal.MALFORMED, error.what, where=where, mend=error.mend) from error
    if manifest.publisher != publisher.name:
        raise ReleaseRefusedError(
            ReleaseRefusal.NOT_AUTHENTIC, f"the manifest names the publisher {manifest.publisher!r}", where=where
        )
    return manifest


def blob_path(release: Path, file: ReleaseFile) -> Path:
    """Where the blob lies, as a regular file of the size that was signed.

    Raises:
        ReleaseRefusedError: ``blob_missing``, or ``blob_altered`` when the size is another.
    """
    path = release / "blobs" / file.blob
    if not path.is_file():
        raise ReleaseRefusedError(ReleaseRefusal.BLOB_MISSING, f"the blob of {file.name!r} is missing", where=str(path))
    if path.stat().st_size != file.blob_size:
        raise ReleaseRefusedError(
            ReleaseRefusal.BLOB_ALTERED, f"the blob of {file.name!r} has another size than was signed", where=str(path)
        )
    return path


def _read_some(path: Path, most: int) -> bytes:
    """At most ``most`` bytes of a regular file (reading anything else could wait for ever)."""
    if not path.is_file():
        raise FileNotFoundError(path)
    with path.open("rb") as file:
        return file.read(most)
