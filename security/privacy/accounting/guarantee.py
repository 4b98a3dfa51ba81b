"""A figure and what it means: no ε without its δ, unit, neighbours and sampling."""

import math
from dataclasses import dataclass
from typing import Literal

from skerry.errors import InputError, RefusedError
from skerry.security.privacy.accounting.events import Relation

__all__ = ["SAMPLER_SHARE", "Guarantee", "check_delta", "usable"]

SAMPLER_SHARE = 2.0**-20
"""Share of δ kept for inexact sampling. At δ = 1e-5 and ε = 8 it covers 10^15 samples within 2^-99 of exact."""


@dataclass(frozen=True, kw_only=True)
class Guarantee:
    """(ε, δ)-differential privacy with everything that the figure depends on.

    Attributes:
        epsilon: ε.
        delta: δ.
        unit: what is protected.
        relation: which data are neighbours.
        sampling: how those who take part are drawn, in words; the figure is void under another way.
        accountant: how it was computed.
    """

    epsilon: float
    delta: float
    unit: Literal["example", "device"]
    relation: Relation
    sampling: str
    accountant: str

    def __str__(self) -> str:
        return (
            f"ε = {self.epsilon:.4g} ({self.accountant}) at δ = {self.delta:g}, per {self.unit}, {self.relation};"
            f" {self.sampling}"
        )


def check_delta(delta: float, units: int, *, force: bool = False) -> None:
    """Refuse a δ that allows what privacy is to prevent.

    A mechanism that publishes one unit, drawn at random, with probability 1 is (0, 1/n)-private: at δ ≥ 1/n the
    definition no longer excludes giving somebody away entirely.

    Args:
        delta: δ.
        units: n, how many units there are (examples of a device, devices).
        force: let it pass all the same.

    Raises:
        InputError: δ is not between 0 and 1, or there are no units.
        RefusedError: δ ≥ 1/n (``delta_too_large``).
    """
    usable(delta)
    if units < 1:
        raise InputError(f"there must be at least one unit to protect, got {units}")
    if delta >= 1 / units and not force:
        raise RefusedError(
            "delta_too_large",
            f"δ = {delta:g} is not below 1/{units}: publishing one of {units} units whole, drawn at random, would pass",
            mend=f"ask for δ below {1 / units:.2g}; a tenth of that or less is usual",
        )


def usable(delta: float) -> float:
    """What is left of δ after the samplers' share.

    Raises:
        InputError: δ is not between 0 and 1.
    """
    if not (0 < delta < 1 and math.isfinite(delta)):
        raise InputError(f"δ lies between 0 and 1, got {delta}")
    return delta * (1 - SAMPLER_SHARE)
