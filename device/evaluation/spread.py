"""How a figure spreads over devices."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Spread", "spread_of"]


@dataclass(frozen=True)
class Spread:
    """10th, 50th and 90th percentile over devices, interpolated linearly between them."""

    p10: float
    p50: float
    p90: float


def spread_of(values: Sequence[float]) -> Spread:
    """Percentiles of one figure per device; each device counts alike, whatever it holds."""
    return Spread(*(float(np.percentile(values, p)) for p in (10, 50, 90)))
