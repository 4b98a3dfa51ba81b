"""What a release consists of: the one record that the publisher signs."""

import hashlib
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from skerry.canonical import encode, sha256_hex
from skerry.errors import InputError
from skerry.security.delivery.stream import blob_bytes
from skerry.security.strict import check_hex, check_integer, check_name, read_record

__all__ = ["MAX_FILE_BYTES", "MAX_MANIFEST_BYTES", "Contents", "Manifest", "ReleaseFile"]

MAX_MANIFEST_BYTES = 1 << 20
MAX_FILE_BYTES = 1 << 40
_SCHEMA = 1
_FIELDS = ("schema", "name", "version", "run", "publisher", "created", "files", "wraps")
_FILE_FIELDS = ("name", "size", "sha256", "blob", "blob_size")


@dataclass(frozen=True, kw_only=True)
class ReleaseFile:
    """One delivered file and the blob that holds it.

    Attributes:
        name: a plain file name; it cannot lead out of the folder into which it is written.
        size: bytes of plaintext.
        sha256: of the plaintext, hexadecimal.
        blob: SHA-256 of the ciphertext, hexadecimal, which is the blob's file name.
        blob_size: bytes of ciphertext.
    """

    name: str
    size: int
    sha256: str
    blob: str
    blob_size: int

    def __post_init__(self) -> None:
        check_name(self.name, "a file's name")
        check_integer(self.size, "a file's size", high=MAX_FILE_BYTES)
        check_hex(self.sha256, "a file's digest")
        check_hex(self.blob, "a blob's digest")
        expected = blob_bytes(self.size)
        check_integer(self.blob_size, "a blob's size", low=expected, high=expected)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What is released, which is also what a content key is wrapped for.

    Attributes:
        name: the model's name, within which versions count.
        version: 1 or more; a device never goes back.
        run: the run that made it.
        publisher: name of the identity that signs.
        created: ms since the epoch.
        files: sorted by name, no two alike (also not up to case, which some file systems ignore).

    Raises:
        InputError: a field has another type or form.
    """

    name: str
    version: int
    run: str
    publisher: str
    created: int
    files: tuple[ReleaseFile, ...]

    def __post_init__(self) -> None:
        check_name(self.name, "the model's name")
        check_integer(self.version, "the version", low=1)
        check_name(self.run, "the run")
        check_name(self.publisher, "the publisher")
        check_integer(self.created, "the time of creation")
        names = [file.name for file in self.files]
        if not names or names != sorted(names) or len({name.casefold() for name in names}) < len(names):
            raise InputError("the files of a release are at least one, sorted by name, no two alike")

    @cached_property
    def content_digest(self) -> bytes:
        """32 bytes that stand for every field of the contents, every file and every blob."""
        return hashlib.sha256(encode({k: v for k, v in self.to_json().items() if k != "wraps"})).digest()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the signed form is their canonical CBOR."""
        return {**asdict(self), "files": [asdict(f) for f in self.files], "schema": _SCHEMA}


@dataclass(frozen=True, kw_only=True)
class Manifest(Contents):
    """The contents, and the digest of the list of wraps (see :func:`~skerry.security.delivery.wraps.wraps_digest`)."""

    wraps: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_hex(self.wraps, "the digest of the wraps")

    def to_bytes(self) -> bytes:
        """The canonical CBOR that is signed."""
        return encode(self.to_json())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of :meth:`to_bytes`, hexadecimal: names this release exactly."""
        return sha256_hex(self.to_bytes())

    @staticmethod
    def from_bytes(data: bytes) -> "Manifest":
        """Parse a manifest whose signature held.

        Raises:
            InputError: not canonical, other fields or types, another schema, or unsafe names.
        """
        record = read_record(data, _FIELDS, limit=MAX_MANIFEST_BYTES)
        if record.pop("schema") != _SCHEMA:
            raise InputError("the manifest's schema is not known", mend="update skerry")
        files = record.pop("files")
        if not isinstance(files, list):
            raise InputError("the files of a release are a list")
        return Manifest(**record, files=tuple(_file(item) for item in files))


def _file(item: object) -> ReleaseFile:
    if not isinstance(item, dict) or item.keys() != set(_FILE_FIELDS):
        raise InputError("a file of a release has missing or unknown fields")
    return ReleaseFile(**item)
