"""Nearest-neighbour mixing (NNM): average each update with those closest to it, then apply a rule."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from skerry.errors import AggregationError
from skerry.records import Float32Array
from skerry.strategies.gram import gram, squared_distances
from skerry.strategies.mean import Mean
from skerry.strategies.median import Median
from skerry.strategies.rows import require_rows
from skerry.strategies.trimmed_mean import TrimmedMean

__all__ = ["NearestNeighbourMixing", "mixing_matrix"]

_BLOCK = 1024  # columns mixed at a time: the mixed matrix never exists as a whole


@dataclass(frozen=True)
class NearestNeighbourMixing:
    """``y_i = 1/(n - f) · Σ_{j ∈ N_i} x_j``, N_i the n - f rows nearest to x_i, itself included; then a rule on y.

    Honest updates of devices with different data lie far apart, and a coordinate-wise rule then has a wide
    honest range in which a hostile value can hide. Mixing pulls honest rows together: a rule that is
    (f, κ)-robust with constant κ becomes (f, κ')-robust with κ' in O(f/n), the best possible order. Needs
    f < n/2.

    The breakdown point is that of the rule that follows: behind a trimmed mean or a median f/n.
    **"nnm+mean" has breakdown point 0**: a far-away hostile row stays in its own mixture (with weight
    1/(n - f)) and the mean counts it.

    Rows equally near are taken in row order, so callers sort rows by device id: the result is then a function
    of the set of updates. Sums are in float64; another order of the rows changes at most the last bits, unless
    distances tie.

    Cost: one Gram matrix (n²d) and one mixing product (n²d); extra memory is one block of columns.

    Reference: Allouah et al. 2023, "Fixing by Mixing: A Recipe for Optimal Byzantine ML under
    Heterogeneity" (AISTATS, arXiv:2302.01772).

    Args:
        tolerate: f, devices that may be hostile.
        then: the coordinate-wise rule applied to the mixed rows.

    >>> import numpy as np
    >>> rows = np.array([[0.0], [1.0], [2.0], [3.0], [1e6]], np.float32)
    >>> NearestNeighbourMixing(1, TrimmedMean(1))(rows).tolist()
    [1.5]
    """

    tolerate: int
    then: Mean | Median | TrimmedMean

    def __post_init__(self) -> None:
        if self.tolerate < 0:
            raise AggregationError(f"{self.name} cannot tolerate {self.tolerate} devices")

    @property
    def name(self) -> str:
        """``nnm+`` and the rule that follows."""
        return f"nnm+{self.then.name}"

    def minimum(self) -> int:
        """A majority must be honest, and the rule that follows must have enough rows."""
        return max(2 * self.tolerate + 1, self.then.minimum())

    def __call__(self, deltas: Float32Array) -> Float32Array:
        """``(n, d)`` float32 rows to a new ``(d,)`` float32 vector.

        Raises:
            AggregationError: too few rows, or rows that are not finite.
        """
        require_rows(deltas, rule=self.name, minimum=self.minimum())
        mixing = mixing_matrix(squared_distances(gram(deltas)), self.tolerate)
        size = deltas.shape[1]
        result = np.empty(size, np.float32)
        for start in range(0, size, _BLOCK):
            part = slice(start, min(start + _BLOCK, size))
            mixed = (mixing @ deltas[:, part].astype(np.float64)).astype(np.float32)
            result[part] = self.then.combine(mixed)
        return result


def mixing_matrix(distances: npt.NDArray[np.float64], tolerate: int) -> npt.NDArray[np.float64]:
    """``(n, n)`` matrix M with ``M[i, j] = 1/(n - f)`` where row j is among the n - f nearest of row i, else 0.

    Ties go to the earlier row; a row is always its own neighbour.

    >>> import numpy as np
    >>> mixing_matrix(np.array([[0.0, 1.0, 9.0], [1.0, 0.0, 4.0], [9.0, 4.0, 0.0]]), 1).tolist()
    [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]
    """
    n = len(distances)
    keep = n - tolerate
    ranked = distances.copy()
    np.fill_diagonal(ranked, -1.0)  # before any twin at distance zero
    nearest = np.argsort(ranked, axis=1, kind="stable")[:, :keep]
    mixing = np.zeros((n, n))
    np.put_along_axis(mixing, nearest, 1.0 / keep, axis=1)
    return mixing
