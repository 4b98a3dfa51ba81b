"""Inner products of all pairs of rows from float32: by a compiled loop where the processor has AVX-512, else by BLAS.

The compiled loop (``_inner.c``) computes half of the matrix and nothing twice, takes rows as they lie, and adds fewer
numbers in float32 before it goes on in float64: at most 64 in each of sixteen lanes, where BLAS adds blocks of 4096 in
an order of its own. It runs on one core.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array

__all__ = ["BLOCK", "KERNEL", "Kernel", "float32_products"]

Float64Array = npt.NDArray[np.float64]
Kernel = Callable[[Float32Array, Float64Array], None]

try:
    from skerry.strategies._inner import inner_products as _compiled
except ImportError:  # no compiler when skerry was installed, or another processor
    KERNEL: Kernel | None = None
else:
    KERNEL = _compiled

BLOCK = 4096
"""Columns that BLAS adds in float32: few, long pieces of each row are read faster than many short ones."""


def float32_products(rows: Float32Array, kernel: Kernel | None = KERNEL) -> Float64Array:
    """``(n, n)`` sums in float64 of inner products of blocks in float32. Symmetric.

    Extra memory is one block of columns. A row that is not finite, or whose square float32 does not hold, shows in its
    diagonal entry.

    Args:
        rows: ``(n, d)`` float32; not changed.
        kernel: the compiled loop, for rows whose entries lie side by side in this processor's byte order; None for
            BLAS, which multiplies all others too.

    >>> float32_products(np.array([[1.0, 2.0], [0.0, 3.0]], np.float32)).tolist()
    [[5.0, 6.0], [6.0, 9.0]]
    """
    total = np.zeros((len(rows), len(rows)))
    if kernel is not None and rows.dtype == np.float32 and rows.strides[1] == rows.itemsize:
        kernel(rows, total)
        return total
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for start in range(0, rows.shape[1], BLOCK):
            block = rows[:, start : start + BLOCK]
            total += block @ block.T
    return total
