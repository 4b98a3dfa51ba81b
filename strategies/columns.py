"""Sorted columns, a cache-sized block at a time: the one expensive step of the coordinate-wise rules."""

from collections.abc import Iterator

from skerry.records import Float32Array

__all__ = ["BLOCK", "sorted_columns"]

BLOCK = 1024
"""Columns per block. A block of 100 devices is 400 kB: it stays in the second-level cache while it is sorted."""


def sorted_columns(rows: Float32Array) -> Iterator[tuple[slice, Float32Array]]:
    """Each block of columns with the devices' values in ascending order.

    Copying a block transposed and sorting along the contiguous axis uses numpy's vectorised sort; sorting
    ``(n, d)`` along its first axis strides over the whole matrix and is several times slower.

    Args:
        rows: ``(n, d)`` float32, finite; not changed.

    Yields:
        The columns ``start:stop`` and a fresh ``(stop - start, n)`` array, ascending in each line.

    >>> import numpy as np
    >>> rows = np.array([[3.0, 1.0], [2.0, 5.0], [9.0, 4.0]], np.float32)
    >>> [(part.start, part.stop, block.tolist()) for part, block in sorted_columns(rows)]
    [(0, 2, [[2.0, 3.0, 9.0], [1.0, 4.0, 5.0]])]
    """
    size = rows.shape[1]
    for start in range(0, size, BLOCK):
        part = slice(start, min(start + BLOCK, size))
        block = rows[:, part].T.copy(order="C")  # always a copy: it is sorted in place
        block.sort(axis=1)
        yield part, block
