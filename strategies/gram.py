"""Inner products of all pairs of updates in one pass, and the distances that follow from them.

Distances from float32 inner products, ``‖x‖² + ‖y‖² - 2⟨x, y⟩``, lose all their digits when rows are nearly
equal (whole models that differ by 10⁻⁴ of their size give negative squared distances). Products of float32
numbers are exact in float64, so the cancellation then costs digits that the inputs never had. Rows are not
centred: subtracting a mean or a first row would let one huge hostile row eat the digits of everybody else's
distances.

float32 products take half the time or less. :func:`quick_gram` uses them where they will do: errors of short blocks
average out over many, so rows must be long; sums over blocks are in float64; rows nearer to each other than an eighth
of ``‖x‖² + ‖y‖²`` (cancellation) are multiplied again in float64; squares near the ends of float32's range are refused.
In rows of equal or nearly equal entries errors do not average out: all sums of a block are rounded the same way (up to
7·10⁻⁵ in all). They show in their squares: those of a few blocks are taken in float64 too, and rows that are off there
by more than their distances bear are multiplied again, among each other. :func:`quick_distances_to` and
:func:`row_squares` look in the same way, the first at its products as well. So distances have a relative error of at
most 10⁻⁶ where the blocks of a row are alike (``tests/strategies/test_gram.py``; 10⁻⁷ is typical). That is measured,
not proved: for any rows at all no more than 16 · 4096 · 2⁻²⁴ = 4·10⁻³ holds, 16 · 68 · 2⁻²⁴ = 7·10⁻⁵ where the compiled
loop multiplies (:mod:`skerry.strategies.inner`), and equal entries that lie between the blocks that are looked at are
not seen.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array
from skerry.strategies.inner import KERNEL, Kernel, float32_products

__all__ = [
    "QUICK_ERROR",
    "cosines",
    "distances_to",
    "gram",
    "pair_distances",
    "quick_distances_to",
    "quick_gram",
    "row_products",
    "row_squares",
    "squared_distances",
]

Float64Array = npt.NDArray[np.float64]

QUICK_ERROR = 1e-6
"""Relative error of squared distances from float32 products, where they are not refused."""

_BLOCK = 1024  # columns; 100 rows in float64 take 800 kB and stay in cache
_WIDE = 4096  # columns for products with one vector: the vector's part (16 kB) stays in cache
_LONG = 65_536  # columns; shorter rows take no time in float64 either
_CANCELLED = 1 / 8
_LOOKED_AT = 8  # blocks of _WIDE columns whose products are taken in float64 too
_LEAST = 1e-24  # below it float32 squares begin to vanish


def gram(rows: Float32Array, chosen: npt.NDArray[np.intp] | None = None) -> Float64Array:
    """``(n, n)`` inner products ``G[i, j] = ⟨x_i, x_j⟩``, multiplied and summed in float64.

    One pass over the data; extra memory is one block of columns. Symmetric. A row that is not finite shows in its
    diagonal entry, and only finite rows have finite ones: the square of a float32 cannot overflow a float64.

    Args:
        rows: ``(n, d)`` float32; not changed.
        chosen: numbers of the rows that are wanted; None for all.

    >>> import numpy as np
    >>> gram(np.array([[1.0, 2.0], [0.0, 3.0]], np.float32)).tolist()
    [[5.0, 6.0], [6.0, 9.0]]
    """
    n, size = len(rows) if chosen is None else len(chosen), rows.shape[1]
    total = np.zeros((n, n))
    buffer = np.empty((n, min(_BLOCK, size)))
    with np.errstate(invalid="ignore"):
        for start in range(0, size, _BLOCK):
            part = rows[:, start : start + _BLOCK] if chosen is None else rows[chosen, start : start + _BLOCK]
            block = buffer[:, : part.shape[1]]
            np.copyto(block, part)
            total += block @ block.T
    return total


def quick_gram(rows: Float32Array, kernel: Kernel | None = KERNEL) -> Float64Array | None:
    """``(n, n)`` inner products from float32, or None where float32 is not good enough for distances.

    Args:
        rows: ``(n, d)`` float32; not changed.
        kernel: the compiled loop; None for BLAS.

    >>> import numpy as np
    >>> quick_gram(np.ones((2, 65_536), np.float32) * np.array([[1], [-1]], np.float32)).tolist()
    [[65536.0, -65536.0], [-65536.0, 65536.0]]
    """
    n, size = rows.shape
    if size < _LONG:
        return None
    if n == 0:
        return np.zeros((0, 0))
    total = float32_products(rows, kernel)
    squares = np.diagonal(total)
    if not (np.isfinite(total).all() and (squares >= _LEAST).all()):
        return None
    ratios = 1.0 - 2.0 * total / (squares[:, None] + squares[None, :])
    np.fill_diagonal(ratios, 1.0)
    near = ratios < _CANCELLED
    errors = _errors(rows, lambda block: np.diagonal(float32_products(block, kernel)))
    off = _too_large(errors, np.where(near, 1.0, ratios).min(axis=1))
    close = np.flatnonzero(near.any(axis=1) | off)
    if 2 * len(close) > n:
        return None
    if len(close):
        first = _first_equals(rows, close, squares)
        different, place = np.unique(first, return_inverse=True)
        total[np.ix_(close, close)] = gram(rows, different)[np.ix_(place, place)]
    return total


def _errors(
    rows: Float32Array, products: Callable[[Float32Array], npt.NDArray[np.floating]], index: int | None = None
) -> Float64Array:
    """``(n,)`` errors of products in the few blocks where they are taken in float64 too, over the lengths there.

    Args:
        rows: ``(n, d)`` float32, finite.
        products: ``(n, w)`` float32, a block, to the ``(n,)`` products that are tried: of each row with itself, or with
            one.
        index: that one; None for itself.
    """
    starts = np.arange(0, rows.shape[1], _WIDE)
    error, squares = np.zeros(len(rows)), np.zeros(len(rows))
    for number in np.unique(np.linspace(0, len(starts) - 1, _LOOKED_AT).astype(int)):
        block = rows[:, starts[number] : starts[number] + _WIDE]
        wide = block.astype(np.float64)
        exact = np.vecdot(wide, wide)
        error += products(block) - (exact if index is None else wide @ wide[index])
        squares += exact
    sizes = squares if index is None else np.sqrt(squares * squares[index])
    return np.abs(np.divide(error, sizes, out=np.zeros(len(rows)), where=sizes > 0))


def _too_large(errors: Float64Array, ratios: Float64Array) -> npt.NDArray[np.bool_]:
    """``(n,)``: whether products with such errors give distances with more than ``QUICK_ERROR``.

    Products that are wrong by a share e give ``‖x‖² + ‖y‖² - 2⟨x, y⟩`` an error of 2e of ``‖x‖² + ‖y‖²`` at most.

    Args:
        errors: e, ``(n,)``.
        ratios: ``(n,)`` least distances over ``‖x‖² + ‖y‖²``.
    """
    too_large: npt.NDArray[np.bool_] = 2.0 * errors > QUICK_ERROR * np.minimum(ratios, 1.0)
    return too_large


def _first_equals(rows: Float32Array, chosen: npt.NDArray[np.intp], squares: Float64Array) -> npt.NDArray[np.intp]:
    """For each chosen row an equal one, the same for several: the rows that colluders send as copies of one.

    Each is compared with one other row at most, the first that has its squared length; others stand for themselves.
    """
    seen: dict[float, int] = {}
    candidates = ((index, seen.setdefault(float(squares[index]), index)) for index in chosen.tolist())
    return np.array([one if np.array_equal(rows[one], rows[index]) else index for index, one in candidates])


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
            squares += _own_products(block)
            inner += block @ block[index]
    if not (np.isfinite(squares).all() and np.isfinite(inner).all() and (squares >= _LEAST).all()):
        return None
    sums = squares + squares[index]
    distances: Float64Array = sums - 2.0 * inner
    distances[index] = 0.0
    own = _errors(rows, _own_products)
    errors = np.maximum(np.maximum(own, own[index]), _errors(rows, lambda block: block @ block[index], index))
    off = _too_large(errors, distances / sums)
    close = np.flatnonzero(((distances < _CANCELLED * sums) | off) & (np.arange(n) != index))
    if 2 * len(close) > n:
        return None
    if len(close):
        distances[close] = distances_to(rows, index, close)
    return distances


def _own_products(block: Float32Array) -> Float32Array:
    products: Float32Array = np.vecdot(block, block)
    return products


def distances_to(rows: Float32Array, index: int, chosen: npt.NDArray[np.intp] | None = None) -> Float64Array:
    """``(n,)`` squared distances to one row, from differences in float64; of all rows or of chosen ones.

    >>> distances_to(np.array([[1.0, 2.0], [0.0, 3.0]], np.float32), 0).tolist()
    [0.0, 2.0]
    """
    total = np.zeros(len(rows) if chosen is None else len(chosen))
    for start in range(0, rows.shape[1], _BLOCK):
        part = slice(start, start + _BLOCK)
        block = (rows[:, part] if chosen is None else rows[chosen, part]).astype(np.float64)
        block -= rows[index, part]
        total += np.vecdot(block, block)
    return total


def pair_distances(rows: Float32Array, pairs: npt.NDArray[np.intp]) -> Float64Array:
    """``(p,)`` squared distances between pairs of rows, ``(p, 2)`` row numbers, from differences in float64.

    >>> pair_distances(np.array([[1.0, 2.0], [0.0, 3.0]], np.float32), np.array([[0, 1], [1, 1]])).tolist()
    [2.0, 0.0]
    """
    total = np.zeros(len(pairs))
    for start in range(0, rows.shape[1], _BLOCK):
        part = rows[:, start : start + _BLOCK]
        difference = part[pairs[:, 0]].astype(np.float64)
        difference -= part[pairs[:, 1]]
        total += np.vecdot(difference, difference)
    return total


def row_squares(rows: Float32Array) -> Float64Array:
    """``(n,)`` squared lengths in one pass; NaN or infinite for the rows, and only those, that are not finite.

    Relative error at most 10⁻⁶ (measured, as above): float32 within blocks; float64 over blocks, and for rows near the
    ends of the range or with errors that do not average out.

    >>> import numpy as np
    >>> row_squares(np.array([[3.0, 4.0], [2.0**100, 0.0]], np.float32)).tolist() == [25.0, 2.0**200]
    True
    """
    n, size = rows.shape
    squares = np.zeros(n)
    if rows.size == 0:
        return squares
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for start in range(0, size, _WIDE):
            block = rows[:, start : start + _WIDE]
            squares += _own_products(block)
        within = np.isfinite(squares) & (squares >= _LEAST)
        errors = _errors(rows, _own_products)
        for index in np.flatnonzero(~within | (2.0 * errors > QUICK_ERROR)):
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
