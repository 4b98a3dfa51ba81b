"""Random bits: one interface for the operating system's entropy and for a reproducible simulation.

Both are ChaCha20 key streams (RFC 8439). A stream from :func:`os_stream` has a key that nobody knows; a stream
from :func:`seeded_stream` can be computed by anybody who knows the seed, so noise drawn from it protects
nothing: it is for simulation, and :attr:`RandomStream.is_seeded` lets a device refuse it.
"""

import os
from collections.abc import Callable
from functools import cached_property, partial
from typing import Protocol

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from skerry.canonical import encode
from skerry.errors import InputError

__all__ = ["ChaChaStream", "RandomStream", "derive_generator", "keyed_stream", "os_stream", "seeded_stream"]

_BLOCK = 64  # bytes (RFC 8439)
_LIMIT = 2**32 * _BLOCK  # bytes until the 32-bit block counter of RFC 8439 would repeat


class RandomStream(Protocol):
    """A source of independent uniform bits that never gives the same ones twice."""

    @property
    def is_seeded(self) -> bool:
        """True when somebody can recompute the stream: simulation only."""

    def uint64(self, n: int) -> npt.NDArray[np.uint64]:
        """``(n,)`` words, uniform over all 2^64 values."""

    def bytes(self, n: int) -> bytes:
        """``n`` uniform bytes."""

    def permutation(self, n: int) -> npt.NDArray[np.int64]:
        """A permutation of ``0 … n-1``, within n²/2^64 of uniform in total variation."""

    @property
    def drawn(self) -> int:
        """Bytes that were given so far."""

    def skip_to(self, drawn: int) -> None:
        """Go on as if ``drawn`` bytes had been given, none of which may be used for anything else."""


class ChaChaStream:
    """The ChaCha20 key stream of one key and nonce, read once from its start (RFC 8439, section 2.4).

    Uniform under the usual assumption on ChaCha20, if the key is uniform and (key, nonce) is used for one
    stream only. An unseeded stream stops in a forked child: parent and child would draw the same noise, and
    whoever saw both could subtract it.

    Args:
        key: 32 bytes; or what gives them, asked once, when something is drawn: most devices of a crowd draw nothing.
        nonce: 12 bytes.
        seeded: the key can be known to others.

    Raises:
        InputError: key or nonce have another length.
    """

    def __init__(self, key: bytes | Callable[[], bytes], nonce: bytes = bytes(12), *, seeded: bool = False) -> None:
        length = len(key) if isinstance(key, bytes) else 32
        if length != 32 or len(nonce) != 12:
            raise InputError(f"ChaCha20 takes a key of 32 and a nonce of 12 bytes, got {length} and {len(nonce)}")
        self._given, self._nonce = key, nonce
        self._left = _LIMIT
        self._seeded = seeded
        self._process = os.getpid()
        if isinstance(key, bytes):  # whose bits may be noise: two threads that drew first could each make a cipher
            self._cipher = self._encryptor(bytes(4))

    @cached_property
    def _key(self) -> bytes:
        return self._given if isinstance(self._given, bytes) else self._given()

    @cached_property
    def _cipher(self) -> CipherContext:
        return self._encryptor(bytes(4))

    def _encryptor(self, counter: bytes) -> CipherContext:
        return Cipher(ChaCha20(self._key, counter + self._nonce), mode=None).encryptor()

    @property
    def is_seeded(self) -> bool:
        """True when the key can be known to others."""
        return self._seeded

    def bytes(self, n: int) -> bytes:
        """The next ``n`` bytes of the key stream.

        Raises:
            RuntimeError: the process was forked (unseeded streams), or 256 GiB are used up.
        """
        if not self._seeded and os.getpid() != self._process:
            raise RuntimeError("a secret random stream does not survive a fork: make a new one with os_stream()")
        if n > self._left:
            raise RuntimeError("the stream's 256 GiB are used up: make a new one")
        self._left -= n
        return self._cipher.update(bytes(n))

    @property
    def drawn(self) -> int:
        """Bytes that were given so far."""
        return _LIMIT - self._left

    def skip_to(self, drawn: int) -> None:
        """Go on where ``drawn`` bytes have been given; also back, for what was given after that and dropped.

        Noise that was used is never drawn again: whoever goes back has thrown away all that depends on it.

        Raises:
            InputError: there are not so many.
        """
        if not 0 <= drawn <= _LIMIT:
            raise InputError(f"a stream has {_LIMIT} bytes, and no place {drawn}")
        block, rest = divmod(drawn, _BLOCK)
        counter = block.to_bytes(5, "little")[:4]  # of the last place it is 0, and nothing is left to be drawn
        self._cipher = self._encryptor(counter)
        self._cipher.update(bytes(rest))
        self._left = _LIMIT - drawn

    def uint64(self, n: int) -> npt.NDArray[np.uint64]:
        """The next ``n`` little-endian words of the key stream; read-only."""
        return np.frombuffer(self.bytes(8 * n), dtype="<u8")

    def permutation(self, n: int) -> npt.NDArray[np.int64]:
        """The order of ``n`` uniform words; two equal words (probability below n²/2^65) keep their order."""
        return np.argsort(self.uint64(n), kind="stable").astype(np.int64)


def os_stream() -> ChaChaStream:
    """A secret stream, keyed by the operating system's generator."""
    return ChaChaStream(os.urandom(32))


def seeded_stream(seed: int, *labels: str | int) -> ChaChaStream:
    """A reproducible stream for simulation: the same seed and labels give the same bits on every machine.

    Streams with different labels are independent for every purpose of a simulation (HKDF-SHA256, RFC 5869,
    over an injective encoding of the labels).
    """
    return ChaChaStream(partial(_derive, seed, "stream", labels), seeded=True)


def keyed_stream(key: bytes, *labels: str | int) -> ChaChaStream:
    """A stream that nobody without the key can compute, and whoever has it can compute again.

    Args:
        key: at least 32 bytes from the operating system's generator, kept secret.
        labels: as for :func:`seeded_stream`.

    Raises:
        InputError: the key is too short.
    """
    if len(key) < 32:
        raise InputError(f"a secret stream takes a key of at least 32 bytes, got {len(key)}")
    return ChaChaStream(_derive(key, "stream", labels))


def derive_generator(seed: int, *labels: str | int) -> np.random.Generator:
    """A reproducible numpy generator for randomness that protects nobody: shuffles, initial weights, attacks."""
    return np.random.Generator(np.random.PCG64(int.from_bytes(_derive(seed, "generator", labels), "big")))


def _derive(seed: int | bytes, purpose: str, labels: tuple[str | int, ...]) -> bytes:
    derivation = HKDF(algorithm=SHA256(), length=32, salt=b"skerry/seed/v1", info=encode([purpose, *labels]))
    return derivation.derive(encode(seed))
