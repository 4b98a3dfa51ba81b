"""The discrete Gaussian, sampled from integers only.

Noise computed in floating point gives itself away: which doubles can occur as ``f(x) + noise`` depends on
``f(x)`` (Mironov 2012, "On significance of the least significant bits for differential privacy"). Here neither
the table nor the sampling nor the sum that the noise is added to knows a floating-point number.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from skerry.errors import InputError
from skerry.security.privacy.stream import RandomStream

__all__ = ["MAX_SCALE", "DiscreteGaussian", "sampling_delta"]

MAX_SCALE = 2**16
"""Largest scale s: its table takes 12 MB, and a second or two to build."""

_MIN_SCALE = Fraction(1, 16)
_WORK = 256  # bits after the binary point while the table is built
_MAGNITUDE = 127  # bits after the binary point in the table; the 128th random bit is the sign
_SUM = (_WORK + 32) // 8 + 4  # bytes of a running sum: 2^256 times less than 2^32
_TAIL = 100  # the table ends where less than 2^-_TAIL of the mass is left


@dataclass(frozen=True, eq=False)
class _Table:
    """Cumulative distribution of the magnitude: entry k is ⌊2^127·P(abs X ≤ k)⌋, as its upper 63 and lower 64 bits."""

    high: npt.NDArray[np.uint64]
    low: npt.NDArray[np.uint64]
    tv_bound: Fraction

    def cumulative(self, k: int) -> int:
        """Entry k; 0 below the table, 2^127 beyond it."""
        if k < 0:
            return 0
        return 1 << _MAGNITUDE if k >= len(self.low) else int(self.high[k]) << 64 | int(self.low[k])


class DiscreteGaussian:
    """Integer noise with ``P(X = x) ∝ exp(-x² / 2s²)``.

    Added to an integer vector whose L2 sensitivity is Δ, independently per coordinate, it gives
    Δ²/(2s²)-zero-concentrated differential privacy (Canonne, Kamath, Steinke, "The discrete Gaussian for
    differential privacy", 2020, Theorem 14), hence Rényi differential privacy ε(α) = α·Δ²/(2s²) for every α > 1.

    That theorem speaks of the exact distribution. What is sampled is within :attr:`tv_bound` (< 2^-99) of it in
    total variation, per coordinate, and :func:`sampling_delta` says what that adds to δ. Proof of the bound:

    1. *Tail.* The table ends at K with K² ≥ 2·100·0.7·s² > 2·100·ln 2·s². With Z = Σ exp(-x²/2s²) ≥ s·√(2π)
       (Poisson summation), ``P(abs X > K) ≤ (2/Z)·∫_K^∞ exp(-x²/2s²) dx ≤ exp(-K²/2s²) ≤ 2^-100``.
    2. *Table.* With u = 2^-256 and everything in [0, 1]: c = exp(-1/s²) and r₀ = exp(-1/2s²) are within 2u (decimal
       ``exp`` is correctly rounded to 100 digits, then cut); rₖ₊₁ = rₖ·c and gₖ₊₁ = gₖ·rₖ, cut after each
       product, are within (3k+2)u and 3k(k+1)/2·u of exp(-(2k+1)/2s²) and exp(-k²/2s²); their running sum
       1 + 2·Σgₖ is within (K+2)³·u; so an entry, cut to 127 bits, is within η = 2^-127 + 2(K+2)³·u.
    3. *Both.* Half the sum of the errors of all P(X = x) is at most the sum of the entries' errors: tv ≤ 2^-100 + K·η.

    A sample takes 1 bit for the sign and 127 bits that are looked up in the table: 63 of them by binary search,
    and only where those are equal to an entry's (probability about K·2^-63) the other 64 are drawn and compared.

    Args:
        scale: s, exact; between 1/16 and :data:`MAX_SCALE`.

    Raises:
        InputError: the scale is out of range.
    """

    def __init__(self, scale: Fraction | int) -> None:
        self.scale = Fraction(scale)
        if not _MIN_SCALE <= self.scale <= MAX_SCALE:
            raise InputError(
                f"the discrete Gaussian's scale is {float(self.scale):g}, outside {float(_MIN_SCALE)} to {MAX_SCALE}",
                mend="a larger ε, fewer steps or fewer trained parameters need a smaller scale",
            )

    @cached_property
    def _table(self) -> _Table:
        return _table(self.scale)

    @property
    def tv_bound(self) -> Fraction:
        """Proven bound on the total variation distance, per sample, to the exact discrete Gaussian."""
        return self._table.tv_bound

    def sample(self, n: int, stream: RandomStream) -> npt.NDArray[np.int64]:
        """``(n,)`` independent samples; the same stream state gives the same samples."""
        words = stream.uint64(n)
        key = words >> np.uint64(1)
        magnitude = np.searchsorted(self._table.high, key)
        for i in np.flatnonzero(self._table.high[magnitude] == key):
            magnitude[i] = self._resolve(int(key[i]), int(stream.uint64(1)[0]))
        sign = np.int64(1) - ((words & np.uint64(1)) << np.uint64(1)).view(np.int64)
        return magnitude.astype(np.int64, copy=False) * sign

    def pmf(self, x: int) -> Fraction:
        """The exact probability with which :meth:`sample` gives ``x``."""
        k = abs(x)
        mass = Fraction(self._table.cumulative(k) - self._table.cumulative(k - 1), 1 << _MAGNITUDE)
        return mass if k == 0 else mass / 2

    def _resolve(self, key: int, low: int) -> int:
        """The number of entries that are at most ``key·2^64 + low``."""
        first, stop = (int(np.searchsorted(self._table.high, np.uint64(key), side=s)) for s in ("left", "right"))
        return first + int(np.searchsorted(self._table.low[first:stop], np.uint64(low), side="right"))


def sampling_delta(epsilon: float, draws: int, tv_bound: Fraction) -> float:
    """What inexact sampling adds to δ.

    If the exact mechanism is (ε, δ)-DP and each of ``draws`` samples is within ``tv_bound`` of exact, then the whole
    output is within η = draws·tv_bound, and the sampled mechanism is (ε, δ + (1 + e^ε)·η)-DP (both worlds move by η).
    """
    return (1 + math.exp(epsilon)) * float(draws * tv_bound)


@lru_cache(maxsize=8)
def _table(scale: Fraction) -> _Table:
    last = math.isqrt(math.ceil(Fraction(14, 10) * _TAIL * scale**2)) + 1
    sums = bytearray()  # 40 bytes each: as Python integers they would take 50 MB more of a small device's memory
    for partial in _running_sums(scale, last):
        sums += partial.to_bytes(_SUM, "little")
    total = int.from_bytes(sums[-_SUM:], "little")
    packed = bytearray()
    for first in range(0, len(sums) - _SUM, _SUM):
        entry = (int.from_bytes(sums[first : first + _SUM], "little") << _MAGNITUDE) // total
        packed += entry.to_bytes(16, "little")
    words = np.frombuffer(packed, dtype="<u8").reshape(-1, 2)
    # The closing entry is above every 63-bit key, so that a search never runs off the table.
    high = np.append(words[:, 1], np.uint64(2**64 - 1))
    low = words[:, 0].copy()
    high.setflags(write=False)
    low.setflags(write=False)
    error = Fraction(1, 1 << _MAGNITUDE) + Fraction(2 * (last + 2) ** 3, 1 << _WORK)
    return _Table(high, low, Fraction(1, 1 << _TAIL) + last * error)


def _running_sums(scale: Fraction, last: int) -> Iterator[int]:
    """``P(abs X ≤ k)·Z`` for k = 0 … last, in units of 2^-256: step 2 of the class's proof, line by line."""
    power = -1 / (2 * scale**2)
    step = _exp(2 * power)
    ratio = _exp(power)
    weight = total = 1 << _WORK
    yield total
    for _ in range(last):
        weight = weight * ratio >> _WORK
        ratio = ratio * step >> _WORK
        total += 2 * weight
        yield total


def _exp(power: Fraction) -> int:
    """⌊2^256·exp(power)⌋ up to one unit, for power ≤ 0."""
    context = Context(prec=100, rounding=ROUND_FLOOR)
    value = context.exp(context.divide(Decimal(power.numerator), Decimal(power.denominator)))
    return int(context.multiply(value, Decimal(1 << _WORK)))
