"""One blob, chunk by chunk, with a map of the chunks that are here: a download that dies goes on where it was.

``<folder>/<sha256>.part`` has the blob's size from the start; ``<sha256>.map`` has one bit a chunk, set after the chunk
was written. A process that is killed in between has written one chunk without its bit: that one is fetched again, and
no other. Neither is flushed for each chunk (that would cost an SD card more than the network), so after a power cut
bits may stand for chunks that are not there: the digest over the whole tells, and the blob is fetched anew.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from skerry.errors import ReleaseRefusedError, RunFailedError
from skerry.security.delivery.client.sources import Source
from skerry.security.delivery.refusal import ReleaseRefusal

__all__ = ["DOWNLOAD_CHUNK", "download", "missing_bytes"]

DOWNLOAD_CHUNK = 1 << 18
"""256 KiB: what a kill costs at most."""


def missing_bytes(folder: Path, blob: str, size: int) -> int:
    """Bytes of disk that the blob still needs."""
    if (folder / blob).exists():
        return 0
    part = folder / f"{blob}.part"
    return size - min(size, part.stat().st_blocks * 512 if part.exists() else 0)  # it has holes until it is filled


def download(source: Source, blob: str, size: int, folder: Path) -> Path:
    """The blob as a file named by its digest, which holds.

    Args:
        source: where from.
        blob: SHA-256 of the blob, hexadecimal.
        size: its bytes, as signed; no more are ever read or written.
        folder: of downloads; what an earlier process left there is gone on with.

    Raises:
        RunFailedError: the source broke off; what has come is kept.
        ReleaseRefusedError: the source gives more than was asked for (``endless_data``), or other content
            (``wrong_hash``): then nothing is kept.
    """
    done, part, bits = folder / blob, folder / f"{blob}.part", folder / f"{blob}.map"
    if done.exists():
        return done
    folder.mkdir(parents=True, exist_ok=True)
    resumed = _prepare(part, bits, size)
    while True:
        with part.open("r+b") as data, bits.open("r+b") as marks:
            for first, last in _gaps(marks.read(), size):
                _fill(source, blob, data.fileno(), marks.fileno(), first, last)
        with part.open("r+b") as data:
            os.fsync(data.fileno())
            if hashlib.file_digest(data, "sha256").hexdigest() == blob:
                break
        bits.unlink()
        part.unlink()
        if not resumed:
            raise ReleaseRefusedError(
                ReleaseRefusal.WRONG_HASH,
                "the blob that was downloaded is not the one that was signed",
                where=f"{source.url}blobs/{blob}",
                mend="try another source of the repository",
            )
        resumed = _prepare(part, bits, size)  # chunks that are marked may be lost, as above: once more from the start
    part.rename(done)
    bits.unlink()
    return done


def _prepare(part: Path, bits: Path, size: int) -> bool:
    """Make part and map unless both are there in the right size; returns whether they were."""
    chunks = -(-size // DOWNLOAD_CHUNK)
    lengths = (size, -(-chunks // 8))
    if all(path.is_file() and path.stat().st_size == n for path, n in zip((part, bits), lengths, strict=True)):
        return any(bits.read_bytes())
    bits.unlink(missing_ok=True)  # first: a map never stands beside a part that is new
    for path, length in zip((part, bits), lengths, strict=True):
        with path.open("wb") as file:
            file.truncate(length)
    return False


def _gaps(marks: bytes, size: int) -> Iterator[tuple[int, int]]:
    """Runs of chunks that are not here, as first and last byte."""
    here = [bool(marks[n // 8] >> n % 8 & 1) for n in range(-(-size // DOWNLOAD_CHUNK))]
    start = 0
    while start < len(here):
        if here[start]:
            start += 1
            continue
        end = start
        while end < len(here) and not here[end]:
            end += 1
        yield start * DOWNLOAD_CHUNK, min(end * DOWNLOAD_CHUNK, size) - 1
        start = end


def _fill(source: Source, blob: str, data: int, marks: int, first: int, last: int) -> None:
    """Fetch one run of chunks; each is marked as soon as it is written."""
    at, chunk = first, bytearray()
    for piece in source.read(blob, first, last):
        if at + len(chunk) + len(piece) > last + 1:
            raise ReleaseRefusedError(
                ReleaseRefusal.ENDLESS_DATA,
                "more was sent of a blob than was asked for",
                where=f"{source.url}blobs/{blob}",
            )
        chunk += piece
        while chunk and (len(chunk) >= DOWNLOAD_CHUNK or at + len(chunk) == last + 1):
            whole = bytes(chunk[:DOWNLOAD_CHUNK])
            _write_all(data, whole, at)
            _mark(marks, at // DOWNLOAD_CHUNK)
            del chunk[: len(whole)]
            at += len(whole)
    if at <= last:
        raise RunFailedError(
            "the download broke off", where=f"{source.url}blobs/{blob}", mend="fetch again: it goes on from here"
        )


def _write_all(file: int, data: bytes, at: int) -> None:
    """A disk that is nearly full takes part of a write without an error, and fails at the next one."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file, rest, at)
        rest, at = rest[written:], at + written


def _mark(marks: int, number: int) -> None:
    byte = os.pread(marks, 1, number // 8)[0] | 1 << number % 8
    os.pwrite(marks, bytes([byte]), number // 8)
