"""What a sequence of Gaussian releases costs: Rényi DP to refuse by, privacy loss distributions to report.

All figures hold under adding or removing one unit (an example, a device: the caller says which).

Steps may be stopped, and their parameters chosen, in the light of earlier releases as long as a budget fixed in
advance is kept (Feldman and Zrnic, "Individual privacy accounting via a Rényi filter", 2021). The theorem is for one
order α fixed in advance: without sampling every curve is a multiple of α, so a budget (ε, δ) does fix the order; with
sampling rates below 1, choose the parameters in advance. Privacy loss distributions always need that.

Every conversion to (ε, δ) keeps :data:`SAMPLER_SHARE` of δ back for the samplers' distance from the exact discrete
Gaussian (:func:`skerry.security.privacy.mechanisms.sampling_delta`).

Gaussian DP (a central limit approximation) is not offered: it reports less than was spent.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from skerry.errors import InputError, MissingDependencyError

__all__ = [
    "ORDERS",
    "SAMPLER_SHARE",
    "GaussianEvent",
    "Rdp",
    "calibrate",
    "compose",
    "epsilon_from_rdp",
    "epsilon_pld",
    "merge",
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

SAMPLER_SHARE = 2.0**-20
"""Share of δ kept for inexact sampling. At δ = 1e-5 and ε = 8 it covers 10^15 samples within 2^-99 of exact."""


@dataclass(frozen=True)
class GaussianEvent:
    """``steps`` releases of a sum of L2 sensitivity Δ with Gaussian noise of standard deviation σ·Δ.

    Attributes:
        noise_multiplier: σ.
        sampling_rate: probability with which each unit takes part in a step, independently (Poisson). 1 is
            everybody. A cohort of fixed size, a shuffle or a check-in is *not* Poisson sampling: use 1.
        steps: number of releases.

    Raises:
        InputError: σ is not positive and finite, the rate not in [0, 1], or steps negative.
    """

    noise_multiplier: float
    sampling_rate: float = 1.0
    steps: int = 1

    def __post_init__(self) -> None:
        if not (self.noise_multiplier > 0 and math.isfinite(self.noise_multiplier)):
            raise InputError(f"a noise multiplier must be positive and finite, got {self.noise_multiplier}")
        if not 0 <= self.sampling_rate <= 1:
            raise InputError(f"a sampling rate lies between 0 and 1, got {self.sampling_rate}")
        if self.steps < 0:
            raise InputError(f"a number of steps cannot be negative, got {self.steps}")


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


def merge(events: Iterable[GaussianEvent]) -> list[GaussianEvent]:
    """The same spending with one event for each (σ, rate), in order of first appearance."""
    steps: Counter[tuple[float, float]] = Counter()
    for event in events:
        steps[event.noise_multiplier, event.sampling_rate] += event.steps
    return [GaussianEvent(sigma, rate, count) for (sigma, rate), count in steps.items()]


def epsilon_from_rdp(values: Rdp, delta: float) -> tuple[float, float]:
    """The smallest ε at this δ that an RDP vector proves, and the order that proves it.

    Canonne, Kamath, Steinke 2020, Proposition 12; and ε = 0 where δ² ≥ 1 - exp(-ε(α)) (Bretagnolle-Huber).

    Raises:
        InputError: δ is not between 0 and 1.
    """
    delta = _usable(delta)
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


def epsilon_pld(events: Iterable[GaussianEvent], delta: float) -> float:
    """ε at this δ by privacy loss distributions (``dp-accounting``, pessimistic discretisation), add/remove.

    The figure is that of the *continuous* Gaussian with the same σ, a very close stand-in for the discrete one
    at the scales used here; the figure proved for the discrete mechanism is :func:`epsilon_from_rdp`.

    Raises:
        MissingDependencyError: ``dp-accounting`` is not installed.
        InputError: δ is not between 0 and 1.
    """
    spent = tuple(e for e in merge(events) if e.steps and e.sampling_rate)
    return _pld(spent, _usable(delta)) if spent else 0.0


@lru_cache(maxsize=64)  # half a second each, and the devices of one run have the same history
def _pld(events: tuple[GaussianEvent, ...], delta: float) -> float:
    try:
        from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
        from dp_accounting.pld import PLDAccountant
    except ImportError as error:
        raise MissingDependencyError(
            "ε by privacy loss distributions needs dp-accounting", mend="pip install 'skerry[server]'"
        ) from error
    accountant = PLDAccountant()
    for event in events:
        gaussian = GaussianDpEvent(event.noise_multiplier)
        sampled = gaussian if event.sampling_rate == 1 else PoissonSampledDpEvent(event.sampling_rate, gaussian)
        accountant.compose(sampled, event.steps)
    return float(accountant.get_epsilon(delta))


def _usable(delta: float) -> float:
    if not 0 < delta < 1:
        raise InputError(f"δ lies between 0 and 1, got {delta}")
    return delta * (1 - SAMPLER_SHARE)


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
