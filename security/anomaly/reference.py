"""What the other devices say: the coordinate-wise median of all rows but one, for every row, in one pass."""

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array
from skerry.security.anomaly.evidence import Mask
from skerry.security.anomaly.peers import median, median_without

__all__ = ["cosines_to_others"]

Float64Array = npt.NDArray[np.float64]

_BLOCK = 1024  # columns; transposed and sorted along the contiguous axis while they stay in cache


def cosines_to_others(rows: Float32Array, trusted: Mask) -> Float64Array:
    """``(n,)`` cosine of each row to the coordinate-wise median of the trusted *other* rows; 0 where one is zero.

    Leaving row i out makes the median independent of the noise in x_i; with it in, every row would be correlated
    with the median that it helped to make. One sort serves all n medians: taking one value out of a sorted list
    moves each middle rank by at most one place.

    Args:
        rows: ``(n, d)`` float32, finite; not changed.
        trusted: ``(n,)`` rows that make the medians; at least two.

    >>> rows = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]], np.float32)
    >>> cosines_to_others(rows, np.array([True, True, True, True])).round(2).tolist()
    [0.71, 0.71, 0.71, -1.0]
    """
    product, median_square, square = np.zeros(len(rows)), np.zeros(len(rows)), np.zeros(len(rows))
    for start in range(0, rows.shape[1], _BLOCK):
        part = slice(start, start + _BLOCK)
        ordered = np.sort(rows[trusted, part].T, axis=1).T.astype(np.float64, order="C")
        block = rows[:, part].astype(np.float64)
        middle = median_without(block, ordered)
        if not trusted.all():
            middle[~trusted] = median(ordered)
        product += np.einsum("ij,ij->i", block, middle)
        median_square += np.einsum("ij,ij->i", middle, middle)
        square += np.einsum("ij,ij->i", block, block)
    scale = np.sqrt(median_square * square)
    cosines: Float64Array = np.divide(product, scale, out=np.zeros(len(rows)), where=scale > 0)
    return cosines
