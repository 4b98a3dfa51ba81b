"""How a figure spreads over devices."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from skerry.errors import InputError

__all__ = ["Spread", "spread_of"]


@dataclass(frozen=True)
class Spread:
    """10th, 50th and 90th percentile over devices, interpolated linearly between them."""

    p10: float
    p50: float
    p90: float


def spread_of(values: Sequence[float]) -> Spread:
    """Percentiles of one figure per device; each device counts alike, whatever it holds.

    Not a number where one figure is none.

    Raises:
        InputError: there is no figure.
    """
    ordered = sorted(map(float, values))
    if not ordered:
        raise InputError("there is no device whose figure could be spread")
    if any(map(math.isnan, ordered)):
        return Spread(math.nan, math.nan, math.nan)
    return Spread(*(_at(ordered, share) for share in (0.1, 0.5, 0.9)))


def _at(ordered: Sequence[float], share: float) -> float:
    """``np.percentile`` to the last bit, which loads masked arrays (10 ms) where it is used for the first time."""
    place = (len(ordered) - 1) * share
    below = int(place)
    low, high, beyond = ordered[below], ordered[min(below + 1, len(ordered) - 1)], place - below
    return high - (high - low) * (1 - beyond) if beyond >= 0.5 else low + (high - low) * beyond
