"""Numbers in vector files: floats as the hexadecimal of their bytes, big-endian, so that no digit is in doubt."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from skerry.security.privacy.stream import ChaChaStream

__all__ = ["Words", "dyadic", "f32", "f64", "stream"]


def f64(values: npt.NDArray[np.float64] | Iterable[float]) -> str:
    """Doubles."""
    return np.asarray(values, ">f8").tobytes().hex()


def f32(values: npt.NDArray[np.float32]) -> str:
    """Floats."""
    return np.asarray(values, ">f4").tobytes().hex()


def stream(label: str) -> tuple[str, ChaChaStream]:
    """A stream and its key in hexadecimal."""
    key = hashlib.sha256(label.encode()).digest()
    return key.hex(), ChaChaStream(key)


def dyadic(label: str, *shape: int, bits: int = 6) -> npt.NDArray[np.float32]:
    """Numbers in [-1, 1) that are multiples of 2^-bits: sums of a few products of them are exact in float32."""
    words = stream(label)[1].uint64(int(np.prod(shape)))
    cells = (words >> np.uint64(63 - bits)).astype(np.int64) - 2**bits
    return (cells.reshape(shape) / 2**bits).astype(np.float32)


class Words:
    """A stream of given words, and how many of them were drawn."""

    is_seeded = True

    def __init__(self, words: Sequence[int]) -> None:
        self._words = list(words)
        self.drawn = 0

    def uint64(self, n: int) -> npt.NDArray[np.uint64]:
        """The next ``n``."""
        taken = self._words[self.drawn : self.drawn + n]
        assert len(taken) == n
        self.drawn += n
        return np.array(taken, np.uint64)

    def bytes(self, n: int) -> bytes:
        """Not drawn by what is tested here."""
        raise NotImplementedError

    def permutation(self, n: int) -> npt.NDArray[np.int64]:
        """Not drawn by what is tested here."""
        raise NotImplementedError
