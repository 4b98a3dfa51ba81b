"""Means of the middle of columns by comparators instead of a sort, where skerry was installed with a C compiler.

1. Batcher's network of comparators sorts n lines whatever they hold; :func:`comparators` leaves out those that have no
   part in which values end at the ranks asked for, and in which order.
2. ``_selection.c`` reads 64 columns of all rows at a time, sorts rows in eights while reading, and applies the rest.

Without the compiled part, rules use the sorted blocks of :mod:`skerry.strategies.columns`.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from skerry.errors import AggregationError
from skerry.records import Float32Array
from skerry.strategies.rows import refuse_not_finite

__all__ = ["GROUP", "KERNEL", "MOST_ROWS", "Kernel", "comparators", "middle_means"]

Network = npt.NDArray[np.uint16]
Kernel = Callable[[Float32Array, npt.NDArray[np.int64], Network, int, int, Float32Array], bool]

try:
    from skerry.strategies._selection import middle_means as _compiled
except ImportError:  # no compiler when skerry was installed, or another system than this: `skerry doctor` says so
    KERNEL: Kernel | None = None
else:
    KERNEL = _compiled

GROUP = 8
"""Rows that the kernel sorts while it reads them."""

MOST_ROWS = 4096
"""Up to here the kernel was measured to be quicker; its network, made once, takes 0.1 s to make."""


@lru_cache(maxsize=32)
def comparators(count: int, low: int, high: int) -> Network:
    """Pairs of lines ``a < b`` after which ranks ``low`` to ``high`` (exclusive, from 0) lie in order on their lines.

    A comparator puts the smaller of two values on the first line. Smaller ranks end on lines before ``low`` and larger
    ones from ``high`` on, in any order. Whole groups of :data:`GROUP` lines, from the first on, must be sorted before.

    Args:
        count: n, lines.
        low: the first rank that is wanted.
        high: the rank behind the last.

    Returns:
        ``(k, 2)``, read-only.

    Reference: Batcher 1968, "Sorting networks and their applications" (AFIPS), odd-even merging.

    >>> comparators(3, 1, 2).tolist()
    [[0, 1], [0, 2], [1, 2]]
    >>> len(comparators(100, 0, 100)), len(comparators(100, 49, 51))
    (876, 670)
    """
    needed = []
    # What ends on a line counts by itself where its rank is wanted; all lines below, and all above, are alike.
    ends = [-1] * low + list(range(low, high)) + [-2] * (count - high)
    fresh = count
    for first, second in reversed(_batcher(count)):
        if ends[first] != ends[second]:
            needed.append((first, second))
            ends[first], ends[second] = fresh, fresh + 1
            fresh += 2
    network = np.array(needed[::-1], np.uint16).reshape(-1, 2)
    network.flags.writeable = False
    return network


def _batcher(count: int) -> list[tuple[int, int]]:
    """Sorts ``count`` lines of which whole groups are sorted already."""
    pairs, run, grouped = [], 1, count - count % GROUP
    while run < count:
        apart = run
        while apart:
            for begin in range(apart % run, count - apart, 2 * apart):
                for first in range(begin, min(begin + apart, count - apart)):
                    second = first + apart
                    if first // (2 * run) == second // (2 * run) and (run >= GROUP or second >= grouped):
                        pairs.append((first, second))
            apart //= 2
        run *= 2
    return pairs


def middle_means(
    kernel: Kernel, rows: Float32Array, order: npt.NDArray[np.intp] | None, ranks: slice, *, rule: str
) -> Float32Array:
    """``(d,)`` float32: of each column the mean of the values at some ranks, rounded once from a sum in float64.

    The sum runs in ascending order, so the result is the same to the bit for any order of the rows. Extra memory is a
    block of 64 columns and the result.

    Args:
        kernel: the compiled part.
        rows: ``(n, d)`` float32; not changed.
        order: which rows are meant; None for all.
        ranks: from 0, not empty.
        rule: name for the message.

    Raises:
        AggregationError: rows that are not finite.
    """
    meant = np.arange(len(rows), dtype=np.int64) if order is None else np.ascontiguousarray(order, np.int64)
    out = np.empty(rows.shape[1], np.float32)
    if not kernel(rows, meant, comparators(len(meant), ranks.start, ranks.stop), ranks.start, ranks.stop, out):
        refuse_not_finite(rows, rule=rule)
        raise AggregationError("updates changed while they were aggregated", where=rule)
    return out
