"""MeaMed: in each coordinate the mean of the values nearest to the median."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skerry.records import Float32Array
from skerry.strategies.aggregating import SortedRule
from skerry.strategies.columns import mean_of
from skerry.strategies.rows import require_tolerance

__all__ = ["MeaMed", "mean_around_median"]


def mean_around_median(block: Float32Array, keep: int) -> Float32Array:
    """``(c, m)`` ascending lines to the ``(c,)`` means of the ``keep`` values nearest to each line's median.

    In a sorted line these are neighbours. Of two values equally near the smaller is kept.

    Args:
        block: may be overwritten.
        keep: from 1 to m.

    >>> mean_around_median(np.array([[0.0, 3.0, 4.0, 9.0]], np.float32), 2).tolist()
    [3.5]
    """
    m = block.shape[1]
    spare = m - keep
    if spare == 0:
        return mean_of(block)
    low, high = block[:, (m - 1) // 2].astype(np.float64), block[:, m // 2]
    # The window of `keep` moves on from k while its first value lies farther below the median than the next lies above.
    moves = block[:, :spare].astype(np.float64) + block[:, keep:] < (low + high)[:, None]
    if spare <= keep:
        np.copyto(block[:, :spare], block[:, keep:], where=moves)
        return mean_of(block[:, :keep])
    first = moves.sum(axis=1)
    return mean_of(np.take_along_axis(block, first[:, None] + np.arange(keep)[None, :], axis=1))


@dataclass(frozen=True)
class MeaMed(SortedRule):
    """In each coordinate ``1/(n - f) Σ_{i ∈ N} x_i``, N the n - f values nearest to the median (mean around it).

    Breakdown point f/n while n ≥ 2f + 1. Unlike the trimmed mean it removes f values in all, not f at either end, and
    on the side where the outliers are: less variance and less bias by one-sided attacks; a result can lie outside the
    honest range by as much as the honest values spread.

    The result does not depend on the order of the rows.

    Reference: Xie, Koyejo and Gupta 2018, "Generalized Byzantine-tolerant SGD" (arXiv:1802.10116).

    Args:
        tolerate: f, devices that may be hostile.

    >>> MeaMed(tolerate=1)(np.array([[1.0], [2.0], [3.0], [1e9]], np.float32)).tolist()
    [2.0]
    """

    tolerate: int
    name: ClassVar[str] = "meamed"
    bound: ClassVar[str] = "2f + 1"

    def __post_init__(self) -> None:
        require_tolerance(self.tolerate, rule=self.name)

    def minimum(self) -> int:
        """A majority must be honest: 2f + 1."""
        return 2 * self.tolerate + 1

    def of_sorted(self, block: Float32Array) -> Float32Array:
        """The mean of each line around its median."""
        return mean_around_median(block, block.shape[1] - self.tolerate)
