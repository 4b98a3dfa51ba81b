"""Inner products of all pairs of updates in one pass, and the distances that follow from them.

Distances from float32 inner products, ``‖x‖² + ‖y‖² - 2⟨x, y⟩``, lose all their digits when rows are nearly
equal (whole models that differ by 10⁻⁴ of their size give negative squared distances). Products of float32
numbers are exact in float64, so the cancellation then costs digits that the inputs never had. Rows are not
centred: subtracting a mean or a first row would let one huge hostile row eat the digits of everybody else's
distances.

float32 products take half the time. :func:`quick_gram` uses them and says when they will not do: errors of short
blocks average out over many, so rows must be long; sums over blocks are in float64; and squared distances that are not
at least an eighth of ``‖x‖² + ‖y‖²`` (cancellation), or squares near the ends of float32's range, are refused. What
remains has a relative error of at most 10⁻⁶ (``tests/strategies/test_gram.py``; 10⁻⁷ is typical).
"""

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array

__all__ = [
    "QUICK_ERROR",
    "cosines",
    "gram",
    "quick_distances_to",
    "quick_gram",
    "row_products",
    "row_squares",
    "squared_distances",
    "trusted",
]

Float64Array = npt.NDArray[np.float64]

QUICK_ERROR = 1e-6
"""Relative error of squared distances from float32 products, where they are not refused."""

_BLOCK = 1024  # columns; 100 rows in float64 take 800 kB and stay in cache
_WIDE = 8192  # columns for products with one vector: the vector's part (32 kB) stays in cache
_LONG = 65_536  # columns; shorter rows take no time in float64 either
_CANCELLED = 1 / 8
_LEAST = 1e-24  # below it float32 squares begin to vanish


def gram(rows: Float32Array) -> Float64Array:
    """``(n, n)`` inner products ``G[i, j] = ⟨x_i, x_j⟩``, multiplied and summed in float64.

    One pass over the data; extra memory is one block of columns. Symmetric. A row that is not finite shows in its
    diagonal entry, and only finite rows have finite ones: the square of a float32 cannot overflow a float64.

    Args:
        rows: ``(n, d)`` float32; not changed.

    >>> import numpy as np
    >>> gram(np.array([[1.0, 2.0], [0.0, 3.0]], np.float32)).tolist()
    [[5.0, 6.0], [6.0, 9.0]]
    """
    n, size = rows.shape
    total = np.zeros((n, n))
    buffer = np.empty((n, min(_BLOCK, size)))
    with np.errstate(invalid="ignore"):
        for start in range(0, size, _BLOCK):
            part = rows[:, start : start + _BLOCK]
            block = buffer[:, : part.shape[1]]
            np.copyto(block, part)
            total += block @ block.T
    return total


def quick_gram(rows: Float32Array) -> Float64Array | None:
    """``(n, n)`` inner products from float32, or None where float32 is not good enough for distances.

    Args:
        rows: ``(n, d)`` float32; not changed.

    >>> import numpy as np
    >>> rows = np.ones((2, 65_536), np.float32)
    >>> quick_gram(rows) is None
    True
    >>> rows[0] = -1
    >>> quick_gram(rows).tolist()
    [[65536.0, -65536.0], [-65536.0, 65536.0]]
    """
    n, size = rows.shape
    if size < _LONG:
        return None
    total = np.zeros((n, n))
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for start in range(0, size, _BLOCK):
            block = rows[:, start : start + _BLOCK]
            total += block @ block.T
        squares = np.diagonal(total)
        sums = squares[:, None] + squares[None, :]
        distances = sums - 2.0 * total
    return total if trusted(squares, distances, sums) else None


def quick_distances_to(rows: Float32Array, index: int) -> Float64Array | None:
    """``(n,)`` squared distances to one row from float32 products, or None where these are not good enough.

    >>> quick_distances_to(np.ones((2, 65_536), np.float32) * np.array([[1], [-1]], np.float32), 0).tolist()
    [0.0, 262144.0]
    """
    n, size = rows.shape
    if size < _LONG:
        return None
    squares, inner = np.zeros(n), np.zeros(n)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for start in range(0, size, _WIDE):
            block = rows[:, start : start + _WIDE]
            squares += np.vecdot(block, block)
            inner += block @ block[index]
        sums = squares + squares[index]
        distances: Float64Array = sums - 2.0 * inner
    others = np.arange(n) != index
    if not trusted(squares, distances[others], sums[others]):
        return None
    distances[index] = 0.0
    return distances


def trusted(squares: Float64Array, distances: Float64Array, sums: Float64Array) -> bool:
    """Whether float32 products were good enough: no overflow, nothing vanished, no cancellation; diagonals aside.

    >>> two, eight = np.full(2, 2.0), np.array([[0.0, 8.0], [8.0, 0.0]])
    >>> trusted(two, eight, np.full((2, 2), 4.0)), trusted(two, eight / 100, np.full((2, 2), 4.0))
    (True, False)
    """
    if not (np.isfinite(squares).all() and np.isfinite(distances).all() and (squares >= _LEAST).all()):
        return False
    near = distances < _CANCELLED * sums
    if near.ndim == 2:
        np.fill_diagonal(near, val=False)
    return not bool(near.any())


def row_squares(rows: Float32Array) -> Float64Array:
    """``(n,)`` squared lengths in one pass; NaN or infinite for the rows, and only those, that are not finite.

    Relative error at most 10⁻⁶: float32 within blocks, float64 over blocks and for rows near the ends of the range.

    >>> import numpy as np
    >>> row_squares(np.array([[3.0, 4.0], [2.0**100, 0.0]], np.float32)).tolist() == [25.0, 2.0**200]
    True
    """
    n, size = rows.shape
    squares = np.zeros(n)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for start in range(0, size, _WIDE):
            block = rows[:, start : start + _WIDE]
            squares += np.vecdot(block, block)
        for index in np.flatnonzero(~(np.isfinite(squares) & (squares >= _LEAST))):
            wide = (rows[index, start : start + _WIDE].astype(np.float64) for start in range(0, size, _WIDE))
            squares[index] = sum(float(part @ part) for part in wide)
    return squares


def row_products(rows: Float32Array, vector: Float32Array) -> Float64Array:
    """``(n,)`` inner products of every row with one vector, multiplied and summed in float64.

    Args:
        rows: ``(n, d)`` float32; not changed.
        vector: ``(d,)`` float32.

    >>> import numpy as np
    >>> row_products(np.array([[1.0, 2.0], [0.0, 3.0]], np.float32), np.array([1.0, 1.0], np.float32)).tolist()
    [3.0, 3.0]
    """
    total = np.zeros(len(rows))
    with np.errstate(invalid="ignore"):
        for start in range(0, rows.shape[1], _BLOCK):
            part = slice(start, start + _BLOCK)
            total += rows[:, part].astype(np.float64) @ vector[part].astype(np.float64)
    return total


def squared_distances(inner: Float64Array) -> Float64Array:
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


def cosines(inner: Float64Array) -> Float64Array:
    """``(n, n)`` cosines from a Gram matrix; 0 with rows of length zero, 1 on the diagonal.

    >>> cosines(np.array([[4.0, -2.0], [-2.0, 1.0]])).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    lengths = np.sqrt(np.maximum(np.diagonal(inner), 0.0))
    inverse = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    found = np.clip(inverse[:, None] * inner * inverse[None, :], -1.0, 1.0)
    np.fill_diagonal(found, 1.0)
    result: Float64Array = found
    return result
