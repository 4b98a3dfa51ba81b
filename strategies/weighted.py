"""``Σ w_i x_i``: the one pass over the updates that a rule in Gram space ends with."""

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array

__all__ = ["HUGE", "TINY", "narrow_enough", "to_float32", "weighted_sum"]

Float64Array = npt.NDArray[np.float64]

HUGE = 1e37
"""Results from here on are computed again in float64: float32 sums might have overflowed on the way."""
TINY = 1e-30
"""Weights below it lose digits in float32 (a row clipped from 1e30 to 1 has one)."""

_WIDE = 16384  # columns: the block's result (64 kB) stays in cache while the rows stream by
_BLOCK = 1024  # the same in float64, with the block's copy


def narrow_enough(weights: Float64Array) -> bool:
    """Whether float32 holds these weights to its full precision.

    >>> narrow_enough(np.array([0.5, 0.0])), narrow_enough(np.array([0.5, 1e-40]))
    (True, False)
    """
    sizes = np.abs(weights)
    return not bool(((sizes > 0) & (sizes < TINY)).any())


def to_float32(values: Float64Array) -> Float32Array:
    """Rounded to float32; what lies beyond its largest number by a rounding error becomes that number."""
    largest = float(np.finfo(np.float32).max)
    result: Float32Array = np.clip(values, -largest, largest).astype(np.float32)
    return result


def weighted_sum(rows: Float32Array, weights: Float64Array, *, exact: bool = False) -> Float32Array:
    """``(d,)`` float32 sum of the rows times their weights; rows of weight zero have no influence, however large.

    In float32 (relative error about 10⁻⁷·√n of ``Σ |w_i x_i|``) where it suffices, else in float64. Extra memory is one
    block of columns.

    Args:
        rows: ``(n, d)`` float32, finite; not changed.
        weights: ``(n,)`` float64.
        exact: sum in float64 throughout.

    >>> weighted_sum(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), np.array([0.5, 0.5])).tolist()
    [2.0, 3.0]
    """
    size = rows.shape[1]
    used = np.flatnonzero(weights)
    if len(used) == 1 and weights[used[0]] == 1.0:
        only: Float32Array = rows[used[0]].copy()
        return only
    result = np.zeros(size, np.float32)
    if not len(used):
        return result
    few = 2 * len(used) <= len(rows)  # gathering a block of few rows beats reading all of them
    chosen = weights[used] if few else weights
    if exact or not narrow_enough(weights):
        _sum_wide(rows, used if few else None, chosen, result, slice(0, size))
        return result
    narrow = chosen.astype(np.float32)
    for start in range(0, size, _WIDE):
        part = slice(start, min(start + _WIDE, size))
        block = rows[used, part] if few else rows[:, part]
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            np.matmul(narrow, block, out=result[part])
        if not (np.abs(result[part]) < HUGE).all():
            _sum_wide(rows, used if few else None, chosen, result, part)
    return result


def _sum_wide(
    rows: Float32Array, used: npt.NDArray[np.intp] | None, weights: Float64Array, result: Float32Array, where: slice
) -> None:
    for start in range(where.start, where.stop, _BLOCK):
        part = slice(start, min(start + _BLOCK, where.stop))
        block = rows[:, part] if used is None else rows[used, part]
        result[part] = to_float32(weights @ block.astype(np.float64))
