"""The Skellam distribution: the difference of two independent Poisson numbers of equal mean."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from skerry.errors import InputError
from skerry.security.privacy.mechanisms.inversion import TAIL, IntegerNoise, Table, build_table

__all__ = ["Skellam", "skellam_rdp"]

_TRUST = 192  # bits of the least number of the recurrence: a cut is less than 2^-192 of it
_START = 256  # the recurrence starts where less than 2^-256 of the mass is left
_SIZE = 72  # bytes of a number of the recurrence: it grows from 2^192 by about 2^256


class Skellam(IntegerNoise):
    """Integer noise of variance μ = s²: ``P(X = x) = exp(-μ)·I_x(μ)``, with the modified Bessel function I.

    Closed under addition: the sum of independent Skellam numbers of variances μ₁ and μ₂ is a Skellam number of variance
    μ₁ + μ₂. So noise that many devices add in shares is exactly the noise that is accounted, which a sum of discrete
    Gaussians is not. :func:`skellam_rdp` says what a release costs.

    What is sampled is within :attr:`tv_bound` (< 2^-99) of it in total variation. Proof of the bound:

    1. *Tail.* ``P(abs X > K) ≤ 2·exp(-h(K))``, h(x) = x·asinh(x/μ) - x²/(√(x²+μ²) + μ) (Chernoff's bound with
       E exp(tX) = exp(μ(cosh t - 1))); K is the least number with h(K) ≥ 101·ln 2 and a margin for rounding.
    2. *Recurrence* (Miller's algorithm). P with P_{N+1} = P_N and P_{k-1} = P_{k+1} + (2k/μ)·P_k, downwards from an
       N > K, satisfies the recurrence of I_k(μ). With ρ_k = P_k/P_{k-1} and r_k = I_k/I_{k-1} < 1 we have ρ_{N+1} = 1
       and abs(ρ_k - r_k) = ρ_k·r_k·abs(ρ_{k+1} - r_{k+1}); hence ρ_k = r_k·(1 + e_k) with
       abs(e_k) ≤ ρ_k·…·ρ_N = P_N/P_{k-1}. So P_k/I_k is the same for all k ≤ K up to a factor within 1 ± 2e,
       e = Σ abs(e_k) ≤ K·P_N/min P_j, if e ≤ 1.
    3. *Cuts.* Each step is cut to an integer; all terms are positive, so relative errors do not grow, and p_k is
       within N/min p of P_k, relatively.
    4. *Both.* Normalising what is within a factor 1 ± η moves it by at most η in total variation: tv ≤ 2^-100 +
       2e + N/min p, plus K·2^-127 for cutting the table. e and min p are taken from the numbers themselves.

    Args and raises as :class:`IntegerNoise`.
    """

    @property
    def variance(self) -> Fraction:
        """μ."""
        return self.scale**2

    def _build(self) -> Table:
        return _table(self.scale)


def skellam_rdp(order: int, scale: Fraction, l2: int, l1: int | None = None) -> Fraction:
    """Rényi divergence bound ε(α) of integers with Skellam noise of variance μ = s².

    ε(α) ≤ αΔ₂²/2μ + min(((2α-1)Δ₂² + 6Δ₁)/4μ², 3Δ₁/2μ), for integer α ≥ 2 (Agarwal, Kairouz, Liu, "The Skellam
    mechanism for differentially private federated learning", 2021, Theorem 3.5). Neighbours are sums that differ by
    an integer vector of these norms. At fractional orders nothing is claimed.

    Args:
        order: α.
        scale: s, of the noise in each coordinate.
        l2: Δ₂.
        l1: Δ₁; by default Δ₂², which no integer vector exceeds.

    Raises:
        InputError: α is not an integer of at least 2, the scale is not positive or a sensitivity negative.
    """
    longest = l2**2 if l1 is None else l1
    if order != int(order) or order < 2 or scale <= 0 or l2 < 0 or longest < 0:
        raise InputError(f"Skellam noise is accounted at integer orders from 2, got α = {order}, s = {scale}, Δ = {l2}")
    mu = Fraction(scale) ** 2
    more = min(((2 * order - 1) * l2**2 + 6 * longest) / (4 * mu**2), 3 * longest / (2 * mu))
    return order * l2**2 / (2 * mu) + more


@dataclass(frozen=True)
class _Weights:
    """``P(X = k)`` for k = K … 0, each of :data:`_SIZE` bytes, up to a common factor within 1 ± ``error``."""

    packed: bytearray
    error: Fraction

    def running_sums(self) -> Iterator[int]:
        """``P(abs X ≤ k)`` for k = 0 … K, up to that factor."""
        total = 0
        for first in range(len(self.packed) - _SIZE, -1, -_SIZE):
            weight = int.from_bytes(self.packed[first : first + _SIZE], "little")
            total += 2 * weight if total else weight
            yield total


@lru_cache(maxsize=8)
def _table(scale: Fraction) -> Table:
    mu = scale**2
    last, start = (_reach(float(mu), bits) for bits in (TAIL + 1, _START))
    weights = _miller(mu, last, start)
    return build_table(weights.running_sums(), _SIZE + 4, Fraction(1, 1 << TAIL) + weights.error)


def _reach(mu: float, bits: int) -> int:
    """The least x with h(x) ≥ bits·ln 2, or some more: floating point gets h with a relative error below 10^-9."""
    enough = bits * math.log(2) * (1 + 1e-9) + 1e-6

    def h(x: float) -> float:
        return x * math.asinh(x / mu) - x * x / (math.sqrt(x * x + mu * mu) + mu)

    high = 1
    while h(high) < enough:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if h(middle) >= enough else (middle, high)
    return high


def _miller(mu: Fraction, last: int, start: int) -> _Weights:
    """Steps 2 and 3 of the class's proof: the recurrence from ``start`` down to 0, kept from ``last`` on."""
    above = here = least = least_kept = 1 << _TRUST
    packed = bytearray()
    numerator, denominator = mu.numerator, 2 * mu.denominator
    for k in range(start, -1, -1):
        least = min(least, here)
        if k <= last:
            least_kept = min(least_kept, here) if packed else here
            packed += here.to_bytes(_SIZE, "little")
        above, here = here, above + k * denominator * here // numerator
    return _Weights(packed, 2 * last * Fraction(1 << _TRUST, least_kept) + Fraction(start, least))
