"""The coordinate-wise trimmed mean."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skerry.errors import AggregationError
from skerry.records import Float32Array
from skerry.strategies.columns import sorted_columns
from skerry.strategies.rows import require_rows

__all__ = ["TrimmedMean"]


@dataclass(frozen=True)
class TrimmedMean:
    """In each coordinate the mean of what is left when the f smallest and the f largest values are removed.

    ``1/(n - 2f) · Σ_{i=f+1}^{n-f} x_(i)`` over the sorted values ``x_(1) ≤ … ≤ x_(n)``.

    Breakdown point f/n, for any f < n/2: with at most f hostile devices every coordinate lies between the
    smallest and the largest honest value. With f = 0 it is the mean. Values inside the honest range are not
    seen as hostile, so a small bias in every coordinate passes.

    Summed in float64 in sorted order: the result does not depend on the order of the rows.

    Reference: Yin et al. 2018, "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates"
    (arXiv:1803.01498), definition 2 with β = f/n.

    Args:
        tolerate: f, devices that may be hostile.

    >>> import numpy as np
    >>> rows = np.array([[1.0], [2.0], [4.0], [1e9]], np.float32)
    >>> TrimmedMean(tolerate=1)(rows).tolist()
    [3.0]
    """

    tolerate: int
    name: ClassVar[str] = "trimmed_mean"

    def __post_init__(self) -> None:
        if self.tolerate < 0:
            raise AggregationError(f"{self.name} cannot tolerate {self.tolerate} devices")

    def minimum(self) -> int:
        """Something must be left: 2f + 1."""
        return 2 * self.tolerate + 1

    def __call__(self, deltas: Float32Array) -> Float32Array:
        """``(n, d)`` float32 rows to a new ``(d,)`` float32 vector.

        Raises:
            AggregationError: fewer than 2f + 1 rows, or rows that are not finite.
        """
        require_rows(deltas, rule=self.name, minimum=self.minimum())
        return self.combine(deltas)

    def combine(self, rows: Float32Array) -> Float32Array:
        """The trimmed mean of rows that were already checked."""
        n, size = rows.shape
        result = np.empty(size, np.float32)
        for part, block in sorted_columns(rows):
            result[part] = block[:, self.tolerate : n - self.tolerate].mean(axis=1, dtype=np.float64)
        return result
