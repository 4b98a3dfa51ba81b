"""Inner products of all pairs of updates in one pass, and the distances that follow from them.

Distances from float32 inner products, ``‖x‖² + ‖y‖² - 2⟨x, y⟩``, lose all their digits when rows are nearly
equal (whole models that differ by 10⁻⁴ of their size give negative squared distances). Products of float32
numbers are exact in float64, so the cancellation then costs digits that the inputs never had. Rows are not
centred: subtracting a mean or a first row would let one huge hostile row eat the digits of everybody else's
distances.
"""

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array

__all__ = ["gram", "squared_distances"]

_BLOCK = 1024  # columns; 100 rows in float64 take 800 kB and stay in cache


def gram(rows: Float32Array) -> npt.NDArray[np.float64]:
    """``(n, n)`` inner products ``G[i, j] = ⟨x_i, x_j⟩``, multiplied and summed in float64.

    One pass over the data; extra memory is one block of columns. Symmetric.

    Args:
        rows: ``(n, d)`` float32, finite; not changed.

    >>> import numpy as np
    >>> gram(np.array([[1.0, 2.0], [0.0, 3.0]], np.float32)).tolist()
    [[5.0, 6.0], [6.0, 9.0]]
    """
    n, size = rows.shape
    total = np.zeros((n, n))
    for start in range(0, size, _BLOCK):
        block = rows[:, start : start + _BLOCK].astype(np.float64)
        total += block @ block.T
    return total


def squared_distances(inner: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``(n, n)`` squared Euclidean distances from a Gram matrix; never negative, zero on the diagonal.

    >>> import numpy as np
    >>> squared_distances(np.array([[5.0, 6.0], [6.0, 9.0]])).tolist()
    [[0.0, 2.0], [2.0, 0.0]]
    """
    squares = np.diagonal(inner)
    distances = squares[:, None] + squares[None, :] - 2.0 * inner
    np.maximum(distances, 0.0, out=distances)
    np.fill_diagonal(distances, 0.0)
    return distances
