"""MoNNA: the mean of the updates nearest to one that is trusted."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from skerry.errors import AggregationError
from skerry.strategies.aggregating import WeighingRule
from skerry.strategies.products import Products
from skerry.strategies.rows import require_tolerance
from skerry.strategies.select import choose

__all__ = ["MoNNA"]


@dataclass(frozen=True)
class MoNNA(WeighingRule):
    """``1/(n - f) Σ x_i`` over the n - f rows nearest to the pivot row, itself included.

    The pivot must be honest: then the breakdown point is f/n while n ≥ 2f + 1. A hostile pivot owns the result
    (breakdown point 0). The rule comes from peer-to-peer learning, where each device takes its own update for the
    pivot; with a coordinator the pivot is a device that is trusted, such as the operator's own. Cheapest of the
    robust rules: two passes over the data.

    Equal distances go to the earlier row. Distances are from float32 products where their digits settle the choice, and
    from differences in float64 otherwise.

    Reference: Farhadkhani et al. 2023, "Robust Collaborative Learning with Linear Gradient Overhead" (ICML,
    arXiv:2209.10931).

    Args:
        tolerate: f, devices that may be hostile.
        pivot: number of the trusted row.

    >>> rows = np.array([[1.0], [1.5], [0.5], [1e9]], np.float32)
    >>> MoNNA(tolerate=1)(rows).tolist()
    [1.0]
    """

    tolerate: int
    pivot: int = 0
    name: ClassVar[str] = "monna"
    bound: ClassVar[str] = "2f + 1"

    def __post_init__(self) -> None:
        require_tolerance(self.tolerate, rule=self.name)
        if self.pivot < 0:
            raise AggregationError(f"{self.name} has no row {self.pivot}", where=self.name)

    def minimum(self) -> int:
        """2f + 1, the pivot among them."""
        return max(2 * self.tolerate + 1, self.pivot + 1)

    def weights(self, products: Products) -> npt.NDArray[np.float64]:
        """``1/(n - f)`` for the pivot and its nearest, else zero."""
        keep = products.count - self.tolerate
        chosen = choose(products.quick_distances_to(self.pivot), lambda: products.distances_to(self.pivot), keep)
        weights = np.zeros(products.count)
        weights[chosen] = 1.0 / keep  # the pivot, at distance zero, or a twin of it
        return weights
