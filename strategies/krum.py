"""Krum: the one update whose nearest neighbours are nearest."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from skerry.strategies.aggregating import WeighingRule
from skerry.strategies.products import Products
from skerry.strategies.rows import require_tolerance
from skerry.strategies.select import choose_by_distances

__all__ = ["Krum", "krum_scores"]

Float64Array = npt.NDArray[np.float64]


def krum_scores(distances: Float64Array, tolerate: int) -> Float64Array:
    """``(n,)`` sums of each row's n - f - 2 smallest squared distances to others, of one where that number is smaller.

    >>> krum_scores(np.array([[0.0, 1.0, 4.0, 9.0], [1.0, 0.0, 1.0, 4.0], [4.0, 1.0, 0.0, 1.0], [9.0, 4.0, 1.0, 0.0]]),
    ...     tolerate=0).tolist()
    [5.0, 2.0, 2.0, 5.0]
    """
    n = len(distances)
    if n == 1:
        return np.zeros(1)
    others = distances.copy()
    np.fill_diagonal(others, np.inf)
    others.sort(axis=1)
    scores: Float64Array = others[:, : max(1, n - tolerate - 2)].sum(axis=1)
    return scores


@dataclass(frozen=True)
class Krum(WeighingRule):
    """The row i with the least score ``Σ_{j ∈ N_i} ‖x_i - x_j‖²``, N_i the n - f - 2 other rows nearest to it.

    Breakdown point f/n while n ≥ 2f + 3: the row chosen is at most as far from most honest rows as they are
    from each other. One row has the variance of one device, and under label skew it is one device's data: prefer
    :class:`~skerry.strategies.multi_krum.MultiKrum` unless the result must be an update that somebody sent.

    Equal scores go to the earlier row. Distances are from float32 products where their digits settle the choice, and
    from float64 products otherwise.

    Cost: a Gram matrix (n²d) and a copy of one row.

    Reference: Blanchard et al. 2017, "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent"
    (NeurIPS).

    Args:
        tolerate: f, devices that may be hostile.

    >>> rows = np.array([[1.0], [1.25], [1.5], [2.0], [1e9]], np.float32)
    >>> Krum(tolerate=1)(rows).tolist()
    [1.25]
    """

    tolerate: int
    name: ClassVar[str] = "krum"
    bound: ClassVar[str] = "2f + 3"

    def __post_init__(self) -> None:
        require_tolerance(self.tolerate, rule=self.name)

    def minimum(self) -> int:
        """Two honest neighbours more than hostile ones: 2f + 3."""
        return 2 * self.tolerate + 3

    def weights(self, products: Products) -> Float64Array:
        """One for the row with the least score, else zero."""
        weights = np.zeros(products.count)
        weights[choose_by_distances(products, lambda distances: krum_scores(distances, self.tolerate), 1)] = 1.0
        return weights
