"""What is usual among the others: medians and spreads that leave each device itself out.

Leaving it out matters in small cohorts: among four, one outlier moves the median and the spread by which it is judged.
Nothing here sorts once a device: taking one value out of a sorted list moves each middle rank by at most one place.
"""

import numpy as np
import numpy.typing as npt

from skerry.security.anomaly.evidence import Mask

__all__ = ["median", "median_without", "peers"]

Float64Array = npt.NDArray[np.float64]

_AT_ONCE = 1 << 20  # distances held at a time: 8 MiB


def peers(values: Float64Array, usable: Mask, floor: float) -> list[tuple[float, float] | None]:
    """For each device the others' median and robust spread, ``max(1.4826·MAD, floor)``; None with fewer than three.

    Args:
        values: ``(n,)``; those that are usable are finite.
        usable: ``(n,)`` whose values the others are compared with.
        floor: least spread assumed.

    >>> peers(np.array([1.0, 2.0, 3.0, 100.0]), np.array([True] * 4), floor=0.1)[3]
    (2.0, 1.4826)
    """
    ordered = np.sort(values[usable])
    if len(ordered) < 3:
        return [None] * len(values)
    centres = np.where(usable, median_without(values, ordered), median(ordered))
    others = len(ordered) - usable  # how many each device is compared with
    spreads = np.empty(len(values))
    rows = max(1, _AT_ONCE // len(ordered))
    for start in range(0, len(values), rows):
        part = slice(start, start + rows)
        far = np.abs(ordered - centres[part, None])
        own = np.flatnonzero(usable[part])
        far[own, np.searchsorted(ordered, values[part][own])] = np.inf  # itself or its equal: behind all others
        far.sort(axis=1)
        count = others[part, None]
        middle = np.take_along_axis(far, np.hstack([(count - 1) // 2, count // 2]), axis=1).mean(axis=1)
        spreads[part] = np.maximum(1.4826 * middle, floor)
    usual = zip(centres.tolist(), spreads.tolist(), strict=True)
    return [pair if count >= 3 else None for pair, count in zip(usual, others.tolist(), strict=True)]


def median(ordered: Float64Array) -> Float64Array:
    """The median along the first axis of values that are sorted along it."""
    m = len(ordered)
    middle: Float64Array = 0.5 * (ordered[(m - 1) // 2] + ordered[m // 2])
    return middle


def median_without(own: Float64Array, ordered: Float64Array) -> Float64Array:
    """The median along the first axis of sorted values after taking out one value, for each value taken out.

    Args:
        own: ``(n, …)``, each of them among ``ordered``.
        ordered: ``(m, …)``, sorted along the first axis; m is at least 2.

    Returns:
        ``(n, …)``.
    """
    m = len(ordered) - 1
    low, high = (m - 1) // 2, m // 2
    # The a-th value left is the a-th of all if the one taken out lies above it, else the next. Equal values: either.
    left = np.where(own > ordered[low], ordered[low], ordered[low + 1])
    right = left if low == high else np.where(own > ordered[high], ordered[high], ordered[high + 1])
    middle: Float64Array = 0.5 * (left + right)
    return middle
