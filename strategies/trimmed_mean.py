"""The coordinate-wise trimmed mean."""

from dataclasses import dataclass
from typing import ClassVar

from skerry.records import Float32Array
from skerry.strategies.aggregating import SortedRule
from skerry.strategies.columns import mean_of
from skerry.strategies.rows import require_tolerance

__all__ = ["TrimmedMean"]


@dataclass(frozen=True)
class TrimmedMean(SortedRule):
    """In each coordinate the mean of what is left when the f smallest and the f largest values are removed.

    ``1/(n - 2f) · Σ_{i=f+1}^{n-f} x_(i)`` over the sorted values ``x_(1) ≤ … ≤ x_(n)``.

    Breakdown point f/n, for any f < n/2: with at most f hostile devices every coordinate lies between the
    smallest and the largest honest value. With f = 0 it is the mean. Values inside the honest range are not
    seen as hostile, so a small bias in every coordinate passes.

    Summed in sorted order: the result does not depend on the order of the rows.

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
    bound: ClassVar[str] = "2f + 1"

    def __post_init__(self) -> None:
        require_tolerance(self.tolerate, rule=self.name)

    def minimum(self) -> int:
        """Something must be left: 2f + 1."""
        return 2 * self.tolerate + 1

    def middle(self, count: int) -> slice:
        """All ranks but f at either end."""
        return slice(self.tolerate, count - self.tolerate)

    def of_sorted(self, block: Float32Array) -> Float32Array:
        """The mean of each line without its ends."""
        return mean_of(block[:, self.middle(block.shape[1])])
