"""ARC: clipping to a length that follows the updates and keeps a robust rule's guarantee."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from skerry.strategies.clipping import clip_factors
from skerry.strategies.products import Products
from skerry.strategies.rows import require_tolerance

__all__ = ["AdaptiveClipping"]


@dataclass(frozen=True)
class AdaptiveClipping:
    """ARC: ``y_i = x_i · min(1, C/‖x_i‖)``, C the length of the longest row but ``⌊2f(n - f)/n⌋``.

    The limit follows the updates, so that it never clips more than about 2f honest ones: unlike a fixed C it keeps
    the guarantee of the robust rule that follows, and unlike the median length it leaves honest differences of length
    alone. The breakdown point is that of the rule that follows. Needs f < n/2.

    Reference: Allouah et al. 2025, "Adaptive Gradient Clipping for Robust Federated Learning" (ICLR, arXiv:2405.14432).

    Args:
        tolerate: f, devices that may be hostile.

    >>> from skerry.strategies.products import RowProducts
    >>> rows = np.array([[1.0], [2.0], [8.0]], np.float32)
    >>> AdaptiveClipping(1).matrix(RowProducts(rows, rule="mean")).tolist()
    [1.0, 1.0, 0.25]
    """

    tolerate: int
    name: ClassVar[str] = "arc"
    bound: ClassVar[str] = "2f + 1"

    def __post_init__(self) -> None:
        require_tolerance(self.tolerate, rule=self.name)

    def minimum(self) -> int:
        """2f + 1."""
        return 2 * self.tolerate + 1

    def needed(self, count: int) -> int:
        """As many rows come out as went in."""
        return count

    def matrix(self, products: Products) -> npt.NDArray[np.float64]:
        """``(n,)`` factors."""
        n = products.count
        clipped = 2 * self.tolerate * (n - self.tolerate) // n
        limit = float(np.sqrt(np.sort(products.squares)[n - clipped - 1]))
        return clip_factors(products.squares, limit)
