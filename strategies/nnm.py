"""Nearest-neighbour mixing (NNM): average each update with those closest to it, then apply a rule."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from skerry.strategies.products import Products
from skerry.strategies.rows import require_tolerance
from skerry.strategies.select import nearest

__all__ = ["NearestNeighbourMixing"]


@dataclass(frozen=True)
class NearestNeighbourMixing:
    """``y_i = 1/(n - f) · Σ_{j ∈ N_i} x_j``, N_i the n - f rows nearest to x_i, itself included; a step before a rule.

    Honest updates of devices with different data lie far apart, and a coordinate-wise rule then has a wide
    honest range in which a hostile value can hide. Mixing pulls honest rows together: a rule that is
    (f, κ)-robust with constant κ becomes (f, κ')-robust with κ' in O(f/n), the best possible order. Needs
    f < n/2.

    The breakdown point is that of the rule that follows: behind a trimmed mean or a median f/n.
    **"nnm+mean" has breakdown point 0**: a far-away hostile row stays in its own mixture (with weight
    1/(n - f)) and the mean counts it.

    Rows equally near are taken in row order, so callers sort rows by device id: the result is then a function
    of the set of updates. Distances are from float32 products where these settle a neighbourhood, else from float64.

    Cost: one Gram matrix (n²d), and before a coordinate-wise rule one mixing product (n²d, in float32: relative error
    about 10⁻⁷ of a mixture's largest row); extra memory is one block of columns.

    Reference: Allouah et al. 2023, "Fixing by Mixing: A Recipe for Optimal Byzantine ML under
    Heterogeneity" (AISTATS, arXiv:2302.01772).

    Args:
        tolerate: f, devices that may be hostile.

    >>> from skerry.strategies import Composed, TrimmedMean
    >>> rows = np.array([[0.0], [1.0], [2.0], [3.0], [1e6]], np.float32)
    >>> Composed((NearestNeighbourMixing(1),), TrimmedMean(1))(rows).tolist()
    [1.5]
    """

    tolerate: int
    name: ClassVar[str] = "nnm"
    bound: ClassVar[str] = "2f + 1"

    def __post_init__(self) -> None:
        require_tolerance(self.tolerate, rule=self.name)

    def minimum(self) -> int:
        """A majority must be honest: 2f + 1."""
        return 2 * self.tolerate + 1

    def needed(self, count: int) -> int:
        """As many rows come out as went in."""
        return count

    def matrix(self, products: Products) -> npt.NDArray[np.float64]:
        """``1/(n - f)`` where row j is among the n - f nearest of row i, else 0."""
        keep = products.count - self.tolerate
        return nearest(products, keep) / keep
