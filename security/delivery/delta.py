"""A new version of a file as what changed since an old one: XOR, bytes of equal place gathered, zstd.

Weights that moved a little share sign, exponent and leading bits with what they were, so the XOR of two versions has
zeros there; gathering first bytes, second bytes, … of each word puts those zeros side by side, and unchanged tensors
are zeros throughout. Both files are read in blocks, so memory is constant.

The delta of a file is ``width (1) ‖ zstd frame`` of ``shuffle(new ⊕ old)``, old being cut or filled with zeros to the
length of new. Lossless; which old and which new it belongs to is said, by digest, in the manifest.
"""

import hashlib
from pathlib import Path
from typing import IO

import numpy as np
import zstandard

from skerry.errors import ReleaseRefusedError
from skerry.security.delivery.refusal import ReleaseRefusal

__all__ = ["MAX_GAIN", "apply_delta", "make_delta"]

MAX_GAIN = 0.9
"""A delta longer than this share of the file is not worth a second blob."""

_BLOCK = 1 << 20
_WINDOW = 1 << 23
_LEVEL = 3


def make_delta(old: Path, new: Path, target: Path) -> int:
    """Write the shorter of the deltas for words of four bytes and for single bytes; returns its length in bytes."""
    best = 0
    for width in (4, 1):
        attempt = target.with_name(f"{target.name}.{width}")
        with old.open("rb") as before, new.open("rb") as after, attempt.open("wb") as sink:
            sink.write(bytes([width]))
            with zstandard.ZstdCompressor(level=_LEVEL).stream_writer(sink, closefd=False) as compressed:
                while block := after.read(_BLOCK):
                    compressed.write(_shuffle(_xor(block, before.read(len(block))), width))
            length = sink.tell()
        if best and length >= best:
            attempt.unlink()
        else:
            attempt.replace(target)
            best = length
    return best


def apply_delta(delta: IO[bytes], old: Path, target: IO[bytes], size: int) -> str:
    """Write the new file of ``size`` bytes; returns its SHA-256, which the caller compares with what was signed.

    Raises:
        ReleaseRefusedError: the delta is damaged or of another length (``plaintext_altered``); not more than
            ``size`` bytes are ever written.
    """
    width = delta.read(1)
    if width not in (b"\1", b"\4"):
        raise _damaged("it begins as no delta does")
    digest = hashlib.sha256()
    reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(delta, closefd=False)
    try:
        with old.open("rb") as before:
            for start in range(0, size, _BLOCK):
                length = min(_BLOCK, size - start)
                block = _read_exactly(reader, length)
                new = _xor(_unshuffle(block, width[0]), before.read(length))
                digest.update(new)
                target.write(new)
        if reader.read(1):
            raise _damaged("it holds more than the file")
    except zstandard.ZstdError:
        raise _damaged("it cannot be decompressed") from None
    return digest.hexdigest()


def _xor(block: bytes, old: bytes) -> bytes:
    out = np.frombuffer(block, np.uint8).copy()
    common = min(len(block), len(old))
    out[:common] ^= np.frombuffer(old, np.uint8, common)
    return out.tobytes()


def _shuffle(block: bytes, width: int) -> bytes:
    whole = len(block) - len(block) % width
    return np.frombuffer(block, np.uint8, whole).reshape(-1, width).T.tobytes() + block[whole:]


def _unshuffle(block: bytes, width: int) -> bytes:
    whole = len(block) - len(block) % width
    return np.frombuffer(block, np.uint8, whole).reshape(width, -1).T.tobytes() + block[whole:]


def _read_exactly(reader: IO[bytes] | zstandard.ZstdDecompressionReader, length: int) -> bytes:
    parts, missing = [], length
    while missing:
        part = reader.read(missing)
        if not part:
            raise _damaged("it ends too early")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _damaged(how: str) -> ReleaseRefusedError:
    return ReleaseRefusedError(ReleaseRefusal.PLAINTEXT_ALTERED, f"a delta cannot be applied: {how}")
