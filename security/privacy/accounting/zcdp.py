"""Zero-concentrated differential privacy: one number ρ for Gaussian noise without sampling, also correlated noise."""

import math
from collections.abc import Iterable

from skerry.errors import InputError
from skerry.security.privacy.accounting.events import GaussianEvent
from skerry.security.privacy.accounting.guarantee import usable

__all__ = ["epsilon_from_zcdp", "zcdp", "zcdp_for"]


def zcdp(events: Iterable[GaussianEvent]) -> float:
    """ρ of all events together: Σ steps/(2σ²) (Bun and Steinke 2016, proposition 1.6; the discrete Gaussian alike).

    Raises:
        InputError: an event with a sampling rate between 0 and 1: sampled noise has no such ρ that is worth stating.
    """
    total = 0.0
    for event in events:
        if not event.sampling_rate.is_integer():
            raise InputError(
                f"zCDP does not account for sampling (rate {event.sampling_rate:g})", mend="account by RDP instead"
            )
        total += event.sampling_rate * event.steps / (2 * event.noise_multiplier**2)
    return total


def epsilon_from_zcdp(rho: float, delta: float) -> float:
    """The smallest ε at this δ that ρ-zCDP proves: every order α > 1 is tried, not those of a list.

    ε = min over α of ρα + ln(1 - 1/α) - (ln δ + ln α)/(α - 1) (Canonne, Kamath, Steinke 2020, proposition 12).

    Raises:
        InputError: ρ is negative or not finite, or δ not between 0 and 1.
    """
    delta = usable(delta)
    if not (rho >= 0 and math.isfinite(rho)):
        raise InputError(f"ρ is at least 0 and finite, got {rho}")
    if rho == 0:
        return 0.0

    def bound(log_less_1: float) -> float:
        less_1 = math.exp(log_less_1)
        order = 1 + less_1
        return rho * order + math.log(less_1 / order) - (math.log(delta) + math.log(order)) / less_1

    best = min((bound(i / 8), i / 8) for i in range(-80, 160))[1]
    low, high = best - 1 / 8, best + 1 / 8  # every order is a proof, so the search need not be exact
    for _ in range(60):
        first, second = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, second) if bound(first) <= bound(second) else (first, high)
    return max(0.0, min(bound(best), bound((low + high) / 2)))


def zcdp_for(epsilon: float, delta: float) -> float:
    """The largest ρ (up to rounding downwards) that stays within (ε, δ).

    Raises:
        InputError: ε is not positive and finite, or δ not between 0 and 1.
    """
    if not (epsilon > 0 and math.isfinite(epsilon)):
        raise InputError(f"a budget ε must be positive and finite, got {epsilon}")
    low, high = 0.0, epsilon  # ρα with α > 1 alone exceeds ε at ρ = ε
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon_from_zcdp(middle, delta) <= epsilon else (low, middle)
    return low
