"""One content key for very many devices: wrapped to each by HPKE, gathered in bins, of which a device fetches one.

A bin holds the wraps of all devices whose name hashes to its number, sorted by name, each as
``length of the name (1) ‖ name ‖ length of the wrap (2) ‖ encapsulated key ‖ wrapped key (32) ‖ tag (16)``;
for an X25519 key, 80 bytes of wrap. Bins and their list are blobs; the manifest names the list by digest, the list the
bins. So the one signature over the manifest stands for every wrap: a signature for each would cost nearly half as much
again as the wrapping.

HPKE's ``info`` is the release's content (every field, file and blob) and the device's name: a wrap opens for one
device and one release only. Memory does not grow with the number of devices: wraps go to disk as they are made.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from io import DEFAULT_BUFFER_SIZE
from itertools import pairwise
from pathlib import Path
from typing import IO

from skerry.canonical import encode, sha256_hex
from skerry.errors import InputError, ReleaseRefusedError
from skerry.security.delivery.manifest import Contents, Manifest
from skerry.security.delivery.refusal import ReleaseRefusal
from skerry.security.identity import Identity, PublicIdentity
from skerry.security.strict import check_hex, check_name, read_record

__all__ = [
    "KEY_BYTES",
    "MAX_BIN_BYTES",
    "MAX_INDEX_BYTES",
    "bin_of",
    "bins_in",
    "key_in",
    "names_in",
    "open_wrap",
    "read_index",
    "write_bins",
]

KEY_BYTES = 32
MAX_BINS = 256
MAX_INDEX_BYTES = 1 << 15
MAX_BIN_BYTES = 1 << 24
_PER_BIN = 128
_BUFFERS = MAX_BINS * DEFAULT_BUFFER_SIZE  # of all bins' files together, however few these are
_DOMAIN = b"skerry/delivery/1/bin:"


def write_bins(folder: Path, key: bytes, contents: Contents, recipients: Collection[PublicIdentity]) -> str:
    """Wrap the key for everybody, as blobs in ``folder``; returns the digest of the list of bins.

    Args:
        folder: of blobs.
        key: content key, 32 bytes.
        contents: what it opens.
        recipients: passed through once; may make each identity as it is asked for.

    Raises:
        InputError: nobody, or somebody twice (also up to case).
    """
    count = 1
    while count < MAX_BINS and count * _PER_BIN < len(recipients):
        count *= 2
    paths = [folder / f".bin-{number}" for number in range(count)]
    try:
        with ExitStack() as stack:
            # Each is opened once: to make a file takes longer than to write what is in it.
            files = [stack.enter_context(path.open("w+b", buffering=_BUFFERS // count)) for path in paths]
            for recipient in recipients:
                name = recipient.name.encode()
                wrap = recipient.encapsulation_key.seal(key, _info(contents, recipient.name))
                files[bin_of(recipient.name, count)].write(_record(name, wrap))
            digests = [_sort(file, folder) for file in files]
        for path, digest in zip(paths, digests, strict=True):
            path.replace(folder / digest)
    finally:
        for path in paths:
            path.unlink(missing_ok=True)
    index = encode({"bins": digests})
    (folder / sha256_hex(index)).write_bytes(index)
    return sha256_hex(index)


def bin_of(device: str, count: int) -> int:
    """Number of the bin of a device; ``count`` is a power of two. Names that differ in case alone share one."""
    return int.from_bytes(hashlib.sha256(device.casefold().encode()).digest()[:4], "big") % count


def read_index(data: bytes) -> list[str]:
    """Digests of the bins, in order of their numbers.

    Raises:
        ReleaseRefusedError: it is no such list (``malformed``).
    """
    try:
        bins = read_record(data, ("bins",), limit=MAX_INDEX_BYTES)["bins"]
        if not isinstance(bins, list) or len(bins) not in {1 << n for n in range(MAX_BINS.bit_length())}:
            raise InputError("the number of bins is no power of two")
        for digest in bins:
            check_hex(digest, "a bin's digest")
    except InputError as error:
        raise ReleaseRefusedError(ReleaseRefusal.MALFORMED, f"the list of wraps: {error.what}") from error
    return bins


def open_wrap(data: bytes, contents: Contents, device: Identity) -> bytes:
    """The content key, out of the device's bin.

    Raises:
        ReleaseRefusedError: no wrap for this device (``not_a_recipient``), or none for its key
            (``not_sealed_to_us``), or no bin, or no content key in the wrap (``malformed``).
    """
    wrap = _wraps(data).get(device.name)
    if wrap is None:
        raise ReleaseRefusedError(
            ReleaseRefusal.NOT_A_RECIPIENT,
            "this release was not published for this device",
            where=device.name,
            mend="ask the publisher whether the device is enrolled, or was revoked",
        )
    key = device.open(wrap, _info(contents, device.name))
    if key is None:
        raise ReleaseRefusedError(
            ReleaseRefusal.NOT_SEALED_TO_US,
            "the content key was wrapped for another key of this device",
            where=device.name,
            mend="the publisher knows an old key: enrol again",
        )
    if len(key) != KEY_BYTES:
        raise ReleaseRefusedError(ReleaseRefusal.MALFORMED, "what was wrapped is no content key", where=device.name)
    return key


def key_in(blobs: Path, manifest: Manifest, device: Identity) -> bytes:
    """The content key of a release for one device, out of a folder of blobs.

    Raises:
        ReleaseRefusedError: see :func:`open_wrap`; or the bin is not the one that was signed (``wrap_altered``).
    """
    bins = read_index(_signed(blobs, manifest.wraps, MAX_INDEX_BYTES))
    return open_wrap(_signed(blobs, bins[bin_of(device.name, len(bins))], MAX_BIN_BYTES), manifest, device)


def bins_in(blobs: Path, manifest: Manifest) -> tuple[bytes, list[bytes]]:
    """The list of a release's bins and its different bins, out of a folder of blobs, each as it was signed.

    Raises:
        ReleaseRefusedError: one is missing or is not the one that was signed (``wrap_altered``).
    """
    index = _signed(blobs, manifest.wraps, MAX_INDEX_BYTES)
    return index, [_signed(blobs, digest, MAX_BIN_BYTES) for digest in sorted(set(read_index(index)))]


def names_in(data: bytes) -> list[str]:
    """Names of the devices that a bin has wraps for, sorted.

    Raises:
        ReleaseRefusedError: it is no bin (``malformed``).
    """
    return list(_wraps(data))


def _signed(blobs: Path, digest: str, most: int) -> bytes:
    """A small blob, which has the digest that it is named by; no more of it is read than it may have."""
    path = blobs / digest
    data = b""
    if path.is_file():  # reading anything else could wait for ever
        with path.open("rb") as file:
            data = file.read(most + 1)
    if len(data) > most or sha256_hex(data) != digest:
        raise ReleaseRefusedError(
            ReleaseRefusal.WRAP_ALTERED,
            "the wraps are not those that were signed",
            where=str(path),
            mend="copy the release again, or restore the repository from a copy",
        )
    return data


def _sort(file: IO[bytes], folder: Path) -> str:
    """Put the records of a bin in order; its digest."""
    file.seek(0)
    records = sorted(_records(file.read()))
    names = {name.casefold() for name, _ in records}
    if len(names) < len(records):
        raise InputError("a release is for each recipient only once", where=str(folder))
    data = b"".join(_record(name.encode(), wrap) for name, wrap in records)
    file.seek(0)
    file.write(data)
    return sha256_hex(data)


def _wraps(data: bytes) -> Mapping[str, bytes]:
    """Device → wrap, of a bin in the one form that a publisher writes."""
    records = list(_records(data))
    if any(first >= then for (first, _), (then, _) in pairwise(records)):
        raise ReleaseRefusedError(ReleaseRefusal.MALFORMED, "a bin of wraps is not in the order of its names")
    return dict(records)


def _records(data: bytes) -> Iterator[tuple[str, bytes]]:
    at = 0
    while at < len(data):
        begin = at + 1
        name = begin + data[at]
        wrap = name + 2
        at = wrap + int.from_bytes(data[name:wrap], "big")
        if wrap > len(data) or at > len(data):
            raise ReleaseRefusedError(ReleaseRefusal.MALFORMED, "a bin of wraps ends inside a wrap")
        yield _name(data[begin:name]), data[wrap:at]


def _name(data: bytes) -> str:
    try:
        name = data.decode()
        check_name(name, "a device's name")
    except (UnicodeDecodeError, InputError) as error:
        raise ReleaseRefusedError(
            ReleaseRefusal.MALFORMED, "a bin of wraps has one for what is no device's name"
        ) from error
    return name


def _record(name: bytes, wrap: bytes) -> bytes:
    return len(name).to_bytes(1, "big") + name + len(wrap).to_bytes(2, "big") + wrap


def _info(contents: Contents, device: str) -> bytes:
    # fixed length first: where the contents end and the name begins is unambiguous
    return _DOMAIN + contents.content_digest + device.encode()
