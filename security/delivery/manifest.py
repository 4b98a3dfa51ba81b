"""What a release consists of: the one record that the publisher signs."""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from skerry.canonical import encode, sha256_hex
from skerry.errors import InputError
from skerry.security.aead import Cipher
from skerry.security.delivery.stream import blob_bytes
from skerry.security.strict import check_hex, check_integer, check_name, read_record

__all__ = ["MAX_FILE_BYTES", "MAX_MANIFEST_BYTES", "Contents", "Delta", "Manifest", "ReleaseFile"]

MAX_MANIFEST_BYTES = 1 << 20
MAX_FILE_BYTES = 1 << 40
_SCHEMA = 1
_FIELDS = ("schema", "name", "version", "run", "publisher", "created", "cipher", "files", "deltas", "wraps")
_FILE_FIELDS = ("name", "size", "sha256", "blob", "blob_size")
_DELTA_FIELDS = ("file", "base", "size", "blob", "blob_size")


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
class Delta:
    """A shorter way to one of the files, for who has an older version of it (see ``delta``).

    Attributes:
        file: name of the file that it makes.
        base: SHA-256 of the older version, hexadecimal.
        size: bytes of the delta before encryption.
        blob: SHA-256 of its ciphertext.
        blob_size: bytes of ciphertext.
    """

    file: str
    base: str
    size: int
    blob: str
    blob_size: int

    def __post_init__(self) -> None:
        check_name(self.file, "a file's name")
        check_hex(self.base, "the digest of a delta's base")
        check_integer(self.size, "a delta's size", high=MAX_FILE_BYTES)
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
        deltas: at most one for each file, in the order of the files.
        cipher: of all blobs; a reader opens them by no other.

    Raises:
        InputError: a field has another type or form.
    """

    name: str
    version: int
    run: str
    publisher: str
    created: int
    files: tuple[ReleaseFile, ...]
    deltas: tuple[Delta, ...] = ()
    cipher: Cipher = Cipher.AES_256_GCM

    def __post_init__(self) -> None:
        check_name(self.name, "the model's name")
        check_integer(self.version, "the version", low=1)
        check_name(self.run, "the run")
        check_name(self.publisher, "the publisher")
        check_integer(self.created, "the time of creation")
        names = [file.name for file in self.files]
        if not names or names != sorted(names) or len({name.casefold() for name in names}) < len(names):
            raise InputError("the files of a release are at least one, sorted by name, no two alike")
        shortened = [delta.file for delta in self.deltas]
        if shortened != sorted(set(shortened)) or not set(shortened) <= set(names):
            raise InputError("the deltas of a release are at most one for each of its files, sorted by file")

    @cached_property
    def content_digest(self) -> bytes:
        """32 bytes that stand for every field of the contents, every file and every blob."""
        return hashlib.sha256(encode({k: v for k, v in self.to_json().items() if k != "wraps"})).digest()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the signed form is their canonical CBOR."""
        listed = {"files": [asdict(f) for f in self.files], "deltas": [asdict(d) for d in self.deltas]}
        return {**asdict(self), **listed, "cipher": self.cipher.value, "schema": _SCHEMA}


@dataclass(frozen=True, kw_only=True)
class Manifest(Contents):
    """The contents, and the digest of the list of wraps (see :mod:`~skerry.security.delivery.bins`)."""

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
        files = tuple(ReleaseFile(**item) for item in _items(record.pop("files"), _FILE_FIELDS))
        deltas = tuple(Delta(**item) for item in _items(record.pop("deltas"), _DELTA_FIELDS))
        cipher = _cipher(record.pop("cipher"))
        return Manifest(**record, files=files, deltas=deltas, cipher=cipher)


def _cipher(name: object) -> Cipher:
    if type(name) is not str or name not in set(Cipher):
        raise InputError("the cipher of the release is not known", mend="update skerry")
    return Cipher(name)


def _items(value: object, fields: Collection[str]) -> Iterator[dict[str, Any]]:
    if not isinstance(value, list):
        raise InputError("the files and deltas of a release are lists")
    for item in value:
        if not isinstance(item, dict) or item.keys() != set(fields):
            raise InputError("a file or delta of a release has missing or unknown fields")
        yield item
