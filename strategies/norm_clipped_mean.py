"""The mean of updates that were clipped."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from skerry.strategies.aggregating import WeighingRule
from skerry.strategies.clipping import clip_factors, require_limit
from skerry.strategies.products import Products

__all__ = ["NormClippedMean"]


@dataclass(frozen=True)
class NormClippedMean(WeighingRule):
    """``1/n Σ x_i · min(1, C/‖x_i‖)``: the mean of :class:`~skerry.strategies.clipping.Clipping`'s rows.

    f hostile devices move it by at most ``2C·f/n``: a bound, however they lie, but one that grows with f, so no
    breakdown point in the sense of the other rules (f/n for "stays finite", 0 for "stays near the honest mean"). It
    is the rule with a plain sensitivity for differential privacy, and in large fleets with few hostile devices often
    all that is needed.

    Reference: Shejwalkar et al. 2022, "Back to the Drawing Board: A Critical Evaluation of Poisoning Attacks on
    Production Federated Learning" (IEEE S&P, arXiv:2108.10241).

    Args:
        limit: C; None for the median length.

    >>> NormClippedMean(1.0)(np.array([[0.5], [100.0]], np.float32)).tolist()
    [0.75]
    """

    limit: float | None = None
    name: ClassVar[str] = "norm_clipped_mean"

    def __post_init__(self) -> None:
        require_limit(self.limit, self.name)

    def minimum(self) -> int:
        """One update is enough."""
        return 1

    def weights(self, products: Products) -> npt.NDArray[np.float64]:
        """``1/n`` times the factors."""
        factors: npt.NDArray[np.float64] = clip_factors(products.squares, self.limit) / products.count
        return factors
