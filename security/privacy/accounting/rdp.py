"""Rényi differential privacy: additive over releases, the ledger's currency.

All figures here hold under adding or removing one unit (an example, a device: the caller says which).

Steps may be stopped, and their parameters chosen, in the light of earlier releases as long as a budget fixed in
advance is kept (Feldman and Zrnic, "Individual privacy accounting via a Rényi filter", 2021). The theorem is for one
order α fixed in advance: without sampling every curve is a multiple of α, so a budget (ε, δ) does fix the order; with
sampling rates below 1, choose the parameters in advance. Privacy loss distributions always need that.
"""

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from skerry.errors import InputError
from skerry.security.privacy.accounting.events import GaussianEvent, merge
from skerry.security.privacy.accounting.guarantee import usable

__all__ = [
    "ORDERS",
    "Rdp",
    "calibrate",
    "compose",
    "epsilon_from_rdp",
    "rdp",
]

Rdp = npt.NDArray[np.float64]

ORDERS: tuple[float, ...] = (
    *(1 + i / 10 for i in range(1, 100)),
    *(float(a) for a in range(11, 64)),
    *(float(a) for a in (64, 72, 80, 96, 112, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1024)),
)
"""Rényi orders α at which every RDP vector of this package is given."""

_ORDERS_LESS_1 = np.array(ORDERS) - 1
_LOG_ORDERS = np.log(ORDERS)
_SHIFT = np.log1p(-1 / np.array(ORDERS))


def rdp(event: GaussianEvent, *, discrete: bool = True) -> Rdp:
    """Rényi divergence bound ε(α) of an event at :data:`ORDERS`.

    Without sampling it is steps·α/(2σ²), for the continuous and the discrete Gaussian alike (Canonne, Kamath,
    Steinke 2020, Theorem 14).

    With Poisson sampling (Mironov, Talwar, Zhang, "Rényi differential privacy of the sampled Gaussian mechanism",
    2019, section 3.3) the two agree at integer orders: the binomial expansion has only the moments
    E[(Q/P)^k] = exp(k(k-1)/2σ²), which are the same because a shift by k·Δ maps the integers onto themselves, and the
    opposite direction is no larger because x → Δ - x swaps P and Q. At fractional orders the formula is proved for
    the continuous Gaussian only.

    Args:
        event: what is released.
        discrete: claim only what holds for integer noise: infinity at fractional orders when the rate is below 1.
    """
    q, sigma = event.sampling_rate, event.noise_multiplier
    if q == 0 or event.steps == 0:
        return np.zeros(len(ORDERS))
    if q == 1:
        return event.steps * np.array(ORDERS) / (2 * sigma**2)
    return event.steps * _sampled(q, sigma, discrete)


def compose(events: Iterable[GaussianEvent], *, discrete: bool = True) -> Rdp:
    """RDP of all events together: their sum."""
    return sum((rdp(event, discrete=discrete) for event in merge(events)), np.zeros(len(ORDERS)))


def epsilon_from_rdp(values: Rdp, delta: float) -> tuple[float, float]:
    """The smallest ε at this δ that an RDP vector proves, and the order that proves it.

    Canonne, Kamath, Steinke 2020, Proposition 12; and ε = 0 where δ² ≥ 1 - exp(-ε(α)) (Bretagnolle-Huber).

    Raises:
        InputError: δ is not between 0 and 1.
    """
    delta = usable(delta)
    epsilons = values + _SHIFT - (math.log(delta) + _LOG_ORDERS) / _ORDERS_LESS_1
    best = int(epsilons.argmin())
    nothing = -math.expm1(-values.min()) <= delta**2
    return 0.0 if nothing else max(0.0, float(epsilons[best])), ORDERS[best]


def calibrate(epsilon: float, delta: float, steps: int, sampling_rate: float = 1.0) -> float:
    """The least noise multiplier, in steps of 1e-4, with which ``steps`` releases stay within (ε, δ) by RDP.

    A relative margin of 1e-9 in ε lets a ledger that adds the steps one by one arrive below the same ε.

    Raises:
        InputError: the target is not reachable with a noise multiplier below a million.
    """
    if not (epsilon > 0 and math.isfinite(epsilon)) or steps < 1:
        raise InputError(f"noise cannot be calibrated to ε = {epsilon} over {steps} steps", mend="ask for more of both")

    def enough(ten_thousandths: int) -> bool:
        event = GaussianEvent(ten_thousandths / 10_000, sampling_rate, steps)
        return epsilon_from_rdp(rdp(event), delta)[0] <= epsilon * (1 - 1e-9)

    low, high = 0, 1
    while not enough(high):
        low, high = high, 2 * high
        if high > 10**10:
            raise InputError(f"no noise gives ε = {epsilon} at δ = {delta}", mend="ask for a larger ε or δ")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high / 10_000


@lru_cache(maxsize=64)
def _sampled(q: float, sigma: float, discrete: bool) -> Rdp:
    """One step of the Poisson-sampled Gaussian, 0 < q < 1."""
    values = np.empty(len(ORDERS))
    for i, order in enumerate(ORDERS):
        if order.is_integer():
            values[i] = _log_moment(q, sigma, int(order)) / (order - 1)
        else:
            values[i] = math.inf if discrete else _log_moment_fractional(q, sigma, order) / (order - 1)
    values.setflags(write=False)
    return values


def _log_moment(q: float, sigma: float, order: int) -> float:
    """Logarithm of E[(1 - q + q·Q/P)^α] at an integer α, as log1p of the excess: no cancellation for small q."""
    k = np.arange(2, order + 1)
    log_factorial = np.array([math.lgamma(i + 1) for i in range(order + 1)])
    log_binomial = log_factorial[order] - log_factorial[k] - log_factorial[order - k]
    power = k * (k - 1) / (2 * sigma**2)
    log_excess = power + np.log(-np.expm1(-power))
    terms = log_binomial + k * math.log(q) + (order - k) * math.log1p(-q) + log_excess
    return float(np.logaddexp(0.0, np.logaddexp.reduce(terms)))


def _log_moment_fractional(q: float, sigma: float, order: float) -> float:
    """The same at a fractional α, for the continuous Gaussian, by the trapezoidal rule.

    The integrand is analytic in a strip of half-width πσ² and decays like a Gaussian, so the rule errs below rounding.
    """
    step = min(sigma, sigma**2) / 4
    x = np.arange(-12 * sigma, order + 12 * sigma, step)
    log_ratio = np.logaddexp(math.log1p(-q), math.log(q) + (2 * x - 1) / (2 * sigma**2))
    log_density = -(x**2) / (2 * sigma**2) - math.log(sigma * math.sqrt(2 * math.pi))
    return float(np.logaddexp.reduce(log_density + order * log_ratio)) + math.log(step)
