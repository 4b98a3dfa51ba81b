"""Sorted columns, a cache-sized block at a time: the one expensive step of the coordinate-wise rules."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from skerry.errors import AggregationError
from skerry.records import Float32Array
from skerry.strategies.rows import refuse_not_finite
from skerry.strategies.weighted import HUGE, narrow_enough, to_float32

__all__ = ["BLOCK", "mean_of", "sorted_columns"]

Float64Array = npt.NDArray[np.float64]

BLOCK = 1024
"""Columns per block. A block of 100 devices is 400 kB: it stays in the second-level cache while it is sorted."""


def sorted_columns(
    rows: Float32Array,
    mixing: Float64Array | None = None,
    order: npt.NDArray[np.intp] | None = None,
    *,
    rule: str = "sorted_columns",
) -> Iterator[tuple[slice, Float32Array]]:
    """Each block of columns with the values of all (mixed) rows in ascending order.

    Copying a block transposed and sorting along the contiguous axis uses numpy's vectorised sort; sorting
    ``(n, d)`` along its first axis strides over the whole matrix and is several times slower. Mixing gives the
    transposed block for nothing. NaN and infinities sort to the ends, so looking there finds them.

    Args:
        rows: ``(n, d)`` float32; not changed.
        mixing: M, ``(m, n)`` float64 or its diagonal, where rows of ``M·X`` are wanted; in float32 where that suffices.
        order: which rows, in which order, are meant; None for all as they lie.
        rule: name for the message.

    Yields:
        The columns ``start:stop`` and a ``(stop - start, m)`` array, ascending in each line, that is the
        caller's until the next one.

    Raises:
        AggregationError: rows that are not finite.

    >>> import numpy as np
    >>> rows = np.array([[3.0, 1.0], [2.0, 5.0], [9.0, 4.0]], np.float32)
    >>> [(part.start, part.stop, block.tolist()) for part, block in sorted_columns(rows)]
    [(0, 2, [[2.0, 3.0, 9.0], [1.0, 4.0, 5.0]])]
    """
    size = rows.shape[1]
    count = len(mixing) if mixing is not None else len(rows if order is None else order)
    buffer = np.empty((min(BLOCK, size), count), np.float32)
    narrow = None if mixing is None or not narrow_enough(mixing) else _Narrow(mixing)
    for start in range(0, size, BLOCK):
        part = slice(start, min(start + BLOCK, size))
        columns = (rows[:, part] if order is None else rows[:, part].take(order, axis=0)).T
        block = buffer[: part.stop - start]
        if mixing is None:
            np.copyto(block, columns)
            block.sort(axis=1)
            if not (np.isfinite(block[:, 0]).all() and np.isfinite(block[:, -1]).all()):
                refuse_not_finite(rows, rule=rule)
                raise AggregationError("updates changed while they were aggregated", where=rule)
        elif narrow is None or not narrow.into(block, columns):
            wide = columns.astype(np.float64)
            np.copyto(block, to_float32(wide @ mixing.T if mixing.ndim == 2 else wide * mixing))
            block.sort(axis=1)
        yield part, block


class _Narrow:
    """Mixing in float32. Mixtures that are alike are made once: with attackers told apart, all honest rows have one."""

    def __init__(self, mixing: Float64Array) -> None:
        self._factors = mixing.astype(np.float32)
        self._counts = None
        if mixing.ndim == 2:
            different, counts = np.unique(self._factors, axis=0, return_counts=True)
            if 2 * len(different) <= len(mixing):
                self._factors, self._counts = different, counts

    def into(self, block: Float32Array, columns: Float32Array) -> bool:
        """Mix and sort; False if the sums may have overflowed."""
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            if self._factors.ndim == 1:
                np.multiply(columns, self._factors, out=block)
            elif self._counts is None:
                np.matmul(columns, self._factors.T, out=block)
            else:
                stop = 0
                for values, count in zip((self._factors @ columns.T), self._counts, strict=True):
                    block[:, stop : stop + count] = values[:, None]
                    stop += count
        block.sort(axis=1)
        return bool((block[:, 0] > -HUGE).all() and (block[:, -1] < HUGE).all())


def mean_of(values: Float32Array) -> Float32Array:
    """``(c, k)`` to the ``(c,)`` means of its lines, to about 10⁻⁷ of each line's largest size; never overflows.

    >>> mean_of(np.array([[1.0, 2.0], [3e38, 3e38]], np.float32)).tolist() == [1.5, float(np.float32(3e38))]
    True
    """
    count = values.shape[1]
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        means: Float32Array = values @ np.full(count, 1 / count, np.float32)
    if not (np.abs(means) < HUGE).all():
        return to_float32(values.mean(axis=1, dtype=np.float64))
    return means
