"""Symmetric integer noise, sampled by inversion of a fixed-point table.

Noise computed in floating point gives itself away: which doubles can occur as ``f(x) + noise`` depends on
``f(x)`` (Mironov 2012, "On significance of the least significant bits for differential privacy"). Here neither
the table nor the sampling nor the sum that the noise is added to knows a floating-point number.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import numpy.typing as npt

from skerry.errors import InputError
from skerry.security.privacy.stream import RandomStream

__all__ = ["KERNEL", "MAX_SCALE", "TAIL", "IntegerNoise", "Kernel", "Table", "build_table", "sampling_delta"]

Kernel = Callable[[npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.int32], npt.NDArray[np.int64]], int]
"""Words, high words and guide of a table to signed samples; how many of them lack bits. See ``_inversion.c``."""

try:
    from skerry.security.privacy.mechanisms._inversion import look_up as _compiled
except ImportError:  # no compiler when skerry was installed
    KERNEL: Kernel | None = None
else:
    KERNEL = _compiled

MAX_SCALE = 2**16
"""Largest standard deviation s of a table: it takes 13 MB, and a second or two to build."""

TAIL = 100
"""A table ends where less than 2^-TAIL of the mass is left."""

_MIN_SCALE = Fraction(1, 16)
_MAGNITUDE = 127  # bits after the binary point in the table; the 128th random bit is the sign
_GUIDE = 18  # bits of a number by which its place in the table is guessed


@dataclass(frozen=True, eq=False)
class Table:
    """Cumulative distribution of the magnitude: entry k is ⌊2^127·P(abs X ≤ k)⌋, as its upper 63 and lower 64 bits.

    Attributes:
        high: upper words, ascending, with a closing entry above every 63-bit number.
        low: lower words, one fewer.
        guide: for each value of a number's leading bits, the first entry that numbers with them can belong to.
        tv_bound: proven bound on the total variation distance to the distribution that was asked for.
    """

    high: npt.NDArray[np.uint64]
    low: npt.NDArray[np.uint64]
    guide: npt.NDArray[np.int32]
    tv_bound: Fraction

    def cumulative(self, k: int) -> int:
        """Entry k; 0 below the table, 2^127 beyond it."""
        if k < 0:
            return 0
        return 1 << _MAGNITUDE if k >= len(self.low) else int(self.high[k]) << 64 | int(self.low[k])

    def sample(self, n: int, stream: RandomStream, kernel: Kernel | None = KERNEL) -> npt.NDArray[np.int64]:
        """``(n,)`` independent samples, the same compiled and in numpy.

        Each takes 1 bit for the sign and 127 bits that are looked up in the table: 63 of them by search, and only where
        those are equal to an entry's (probability about K·2^-63 for K entries) the other 64 are drawn and compared.
        """
        words = np.ascontiguousarray(stream.uint64(n), np.uint64)
        if kernel is not None:
            samples = np.empty(n, np.int64)
            if not kernel(words, self.high, self.guide, samples):
                return samples
        key = words >> np.uint64(1)
        magnitude = self.find(key)
        for i in np.flatnonzero(self.high[magnitude] == key):
            magnitude[i] = self.resolve(int(key[i]), int(stream.uint64(1)[0]))
        magnitude *= np.int64(1) - ((words & np.uint64(1)) << np.uint64(1)).view(np.int64)
        return magnitude

    def find(self, key: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """``(n,)`` numbers of entries whose upper word is less than each 63-bit ``key``.

        The guess by leading bits, or the entry after it, is right for nearly all; the others are searched for.
        """
        shift = np.uint64(64 - len(self.guide).bit_length())
        found: npt.NDArray[np.int64] = self.guide[key >> shift].astype(np.int64)
        found += self.high[found] < key
        rest = np.flatnonzero(self.high[found] < key)
        found[rest] = np.searchsorted(self.high, key[rest])
        return found

    def resolve(self, key: int, low: int) -> int:
        """The number of entries that are at most ``key·2^64 + low``."""
        first, stop = (int(np.searchsorted(self.high, np.uint64(key), side=s)) for s in ("left", "right"))
        return first + int(np.searchsorted(self.low[first:stop], np.uint64(low), side="right"))


class IntegerNoise(ABC):
    """Symmetric integer noise of standard deviation ``scale``, whose samples come from a table.

    Args:
        scale: s, exact; between 1/16 and :data:`MAX_SCALE`.

    Raises:
        InputError: the scale is out of range.
    """

    def __init__(self, scale: Fraction | int) -> None:
        self.scale = Fraction(scale)
        if not _MIN_SCALE <= self.scale <= MAX_SCALE:
            raise InputError(
                f"the noise's scale is {float(self.scale):g}, outside {float(_MIN_SCALE)} to {MAX_SCALE}",
                mend="a larger ε, fewer steps or fewer trained parameters need a smaller scale",
            )

    @abstractmethod
    def _build(self) -> Table:
        """The distribution's table."""

    @cached_property
    def table(self) -> Table:
        """The cumulative distribution that is sampled."""
        return self._build()

    @property
    def tv_bound(self) -> Fraction:
        """Proven bound on the total variation distance, per sample, to the exact distribution."""
        return self.table.tv_bound

    def sample(self, n: int, stream: RandomStream) -> npt.NDArray[np.int64]:
        """``(n,)`` independent samples; the same stream state gives the same samples."""
        return self.table.sample(n, stream)

    def pmf(self, x: int) -> Fraction:
        """The exact probability with which :meth:`sample` gives ``x``."""
        k = abs(x)
        mass = Fraction(self.table.cumulative(k) - self.table.cumulative(k - 1), 1 << _MAGNITUDE)
        return mass if k == 0 else mass / 2


def sampling_delta(epsilon: float, draws: int, tv_bound: Fraction) -> float:
    """What inexact sampling adds to δ.

    If the exact mechanism is (ε, δ)-DP and each of ``draws`` samples is within ``tv_bound`` of exact, then the whole
    output is within η = draws·tv_bound, and the sampled mechanism is (ε, δ + (1 + e^ε)·η)-DP (both worlds move by η).
    """
    return (1 + math.exp(epsilon)) * float(draws * tv_bound)


def build_table(running_sums: Iterable[int], size: int, error: Fraction) -> Table:
    """A table from unnormalised ``P(abs X ≤ k)``, k = 0 … K, the last of which is the whole.

    Args:
        running_sums: ascending integers of at most ``size`` bytes; entry K itself is not kept (it is 2^127).
        size: bytes; each sum is kept that long only, where Python's integers would take 50 MB more.
        error: total variation distance of these sums, normalised, to the distribution that was asked for.

    Returns:
        The table; cutting its K entries to 127 bits adds K·2^-127 to ``error``.
    """
    sums = bytearray()
    for partial in running_sums:
        sums += partial.to_bytes(size, "little")
    total = int.from_bytes(sums[-size:], "little")
    packed = bytearray()
    for first in range(0, len(sums) - size, size):
        entry = (int.from_bytes(sums[first : first + size], "little") << _MAGNITUDE) // total
        packed += entry.to_bytes(16, "little")
    words = np.frombuffer(packed, dtype="<u8").reshape(-1, 2)
    # The closing entry is above every 63-bit key, so that a search never runs off the table.
    high = np.append(words[:, 1], np.uint64(2**64 - 1))
    low = words[:, 0].copy()
    bits = min(_GUIDE, len(low).bit_length() + 1)
    starts = np.arange(1 << bits, dtype=np.uint64) << np.uint64(63 - bits)
    guide = np.searchsorted(high, starts).astype(np.int32)
    for array in (high, low, guide):
        array.setflags(write=False)
    return Table(high, low, guide, error + Fraction(len(low), 1 << _MAGNITUDE))
