"""The discrete Gaussian."""

import math
from collections.abc import Iterator
from decimal import ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from functools import lru_cache

from skerry.security.privacy.mechanisms.inversion import TAIL, IntegerNoise, Table, build_table

__all__ = ["DiscreteGaussian", "gaussian_table"]

_WORK = 256  # bits after the binary point while the table is built
_SUM = (_WORK + 32) // 8 + 4  # bytes of a running sum: 2^256 times less than 2^32


class DiscreteGaussian(IntegerNoise):
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

    Args and raises as :class:`IntegerNoise`.
    """

    def _build(self) -> Table:
        return gaussian_table(self.scale**2)


@lru_cache(maxsize=8)
def gaussian_table(variance: Fraction) -> Table:
    """The table of the discrete Gaussian with s² = ``variance``: the class's proof, step by step."""
    last = math.isqrt(math.ceil(Fraction(14, 10) * TAIL * variance)) + 1
    error = Fraction(1, 1 << TAIL) + last * Fraction(2 * (last + 2) ** 3, 1 << _WORK)
    return build_table(_running_sums(variance, last), _SUM, error)


def _running_sums(variance: Fraction, last: int) -> Iterator[int]:
    """``P(abs X ≤ k)·Z`` for k = 0 … last, in units of 2^-256: step 2 of the class's proof, line by line."""
    power = -1 / (2 * variance)
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
