"""The coordinate-wise median."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skerry.records import Float32Array
from skerry.strategies.aggregating import SortedRule
from skerry.strategies.rows import require_tolerance

__all__ = ["Median"]


@dataclass(frozen=True)
class Median(SortedRule):
    """In each coordinate ``(x_(⌈n/2⌉) + x_(⌊n/2⌋ + 1)) / 2`` of the sorted values ``x_(1) ≤ … ≤ x_(n)``.

    That is the middle value; for even n the mean of the two middle ones.

    Breakdown point 1/2: with f < n/2 hostile devices every coordinate lies between the smallest and the
    largest honest value. That is all it promises: under label skew the honest values themselves lie far apart,
    and the median of skewed gradients can be worse than their mean. Its variance under independent Gaussian
    noise tends to π/2 times that of the mean as n grows.

    The result does not depend on the order of the rows.

    Reference: Yin et al. 2018, "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates"
    (arXiv:1803.01498), definition 1.

    Args:
        tolerate: f, devices that may be hostile.

    >>> import numpy as np
    >>> rows = np.array([[1.0, 5.0], [2.0, 6.0], [1e9, -1e9]], np.float32)
    >>> Median(tolerate=1)(rows).tolist()
    [2.0, 5.0]
    """

    tolerate: int = 0
    name: ClassVar[str] = "median"
    bound: ClassVar[str] = "2f + 1"

    def __post_init__(self) -> None:
        require_tolerance(self.tolerate, rule=self.name)

    def minimum(self) -> int:
        """A majority must be honest: 2f + 1."""
        return 2 * self.tolerate + 1

    def middle(self, count: int) -> slice:
        """The middle rank, or the two middle ones."""
        return slice((count - 1) // 2, count // 2 + 1)

    def of_sorted(self, block: Float32Array) -> Float32Array:
        """The middle value of each line, or the mean of the two middle ones."""
        n = block.shape[1]
        low, high = (n - 1) // 2, n // 2
        # Halves are added in float64: the sum of two large float32 numbers overflows.
        middle: Float32Array = (0.5 * (block[:, low].astype(np.float64) + block[:, high])).astype(np.float32)
        return middle
