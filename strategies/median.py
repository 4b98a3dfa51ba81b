"""The coordinate-wise median."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skerry.errors import AggregationError
from skerry.records import Float32Array
from skerry.strategies.columns import sorted_columns
from skerry.strategies.rows import require_rows

__all__ = ["Median"]


@dataclass(frozen=True)
class Median:
    """In each coordinate the middle of the sorted values ``x_(1) ≤ … ≤ x_(n)``; for even n the two middle ones' mean.

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

    def __post_init__(self) -> None:
        if self.tolerate < 0:
            raise AggregationError(f"{self.name} cannot tolerate {self.tolerate} devices")

    def minimum(self) -> int:
        """A majority must be honest: 2f + 1."""
        return 2 * self.tolerate + 1

    def __call__(self, deltas: Float32Array) -> Float32Array:
        """``(n, d)`` float32 rows to a new ``(d,)`` float32 vector.

        Raises:
            AggregationError: fewer than 2f + 1 rows, or rows that are not finite.
        """
        require_rows(deltas, rule=self.name, minimum=self.minimum())
        return self.combine(deltas)

    def combine(self, rows: Float32Array) -> Float32Array:
        """The median of rows that were already checked."""
        n, size = rows.shape
        low, high = (n - 1) // 2, n // 2
        result = np.empty(size, np.float32)
        for part, block in sorted_columns(rows):
            # Halves are added in float64: the sum of two large float32 numbers overflows.
            result[part] = 0.5 * (block[:, low].astype(np.float64) + block[:, high])
        return result
