"""Clipping: updates that are too long are shortened before a rule sees them, and the mean of such."""

from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from skerry.errors import AggregationError
from skerry.strategies.aggregating import WeighingRule
from skerry.strategies.products import Products
from skerry.strategies.rows import require_tolerance

__all__ = ["AdaptiveClipping", "Clipping", "NormClippedMean", "clip_factors"]

Float64Array = npt.NDArray[np.float64]


def clip_factors(squares: Float64Array, limit: float | None) -> Float64Array:
    """``min(1, C/‖x_i‖)`` for each row; without a limit C is the median of the lengths. Rows of length 0 keep 1.

    >>> clip_factors(np.array([1.0, 16.0, 4.0]), 2.0).tolist(), clip_factors(np.array([1.0, 16.0, 4.0]), None).tolist()
    ([1.0, 0.5, 1.0], [1.0, 0.5, 1.0])
    """
    lengths = np.sqrt(squares)
    allowed = float(np.median(lengths)) if limit is None else limit
    factors = np.ones(len(lengths))
    longer = lengths > allowed
    factors[longer] = allowed / lengths[longer]
    return factors


def _require_limit(limit: float | None, rule: str) -> None:
    if limit is not None and not (isfinite(limit) and limit > 0):
        raise AggregationError(f"{rule} needs a positive length to clip to, not {limit}", where=rule)


@dataclass(frozen=True)
class Clipping:
    """``y_i = x_i · min(1, C/‖x_i‖)``: no update is longer than C; directions stay.

    With C fixed in advance no device can send more than C, which is what bounds the sensitivity of a mean. Without it
    C is the median length, which a minority of devices cannot move outside the range of the honest lengths.

    The rows that were sent are never changed: clipping is a factor on each row's weight.

    Reference: Sun et al. 2019, "Can You Really Backdoor Federated Learning?" (arXiv:1911.07963).

    Args:
        limit: C; None for the median length.

    >>> from skerry.strategies.products import RowProducts
    >>> Clipping(1.0).matrix(RowProducts(np.array([[2.0], [0.5]], np.float32), rule="mean")).tolist()
    [0.5, 1.0]
    """

    limit: float | None = None
    name: ClassVar[str] = "clipping"
    bound: ClassVar[str] = "1"

    def __post_init__(self) -> None:
        _require_limit(self.limit, self.name)

    def minimum(self) -> int:
        """One update is enough."""
        return 1

    def needed(self, count: int) -> int:
        """As many rows come out as went in."""
        return count

    def matrix(self, products: Products) -> Float64Array:
        """``(n,)`` factors."""
        return clip_factors(products.squares, self.limit)


@dataclass(frozen=True)
class AdaptiveClipping:
    """ARC: the ``⌊2f(n - f)/n⌋`` longest rows are clipped to the length of the longest other.

    The limit follows the updates, so that it never clips more than about 2f honest ones: unlike a fixed C it keeps
    the guarantee of the robust rule that follows, and unlike the median length it leaves honest differences of length
    alone. Needs f < n/2.

    Reference: Allouah et al. 2025, "Adaptive Gradient Clipping for Robust Federated Learning" (ICLR, arXiv:2405.14432).

    Args:
        tolerate: f, devices that may be hostile.

    >>> from skerry.strategies.products import RowProducts
    >>> rows = np.array([[1.0], [2.0], [8.0]], np.float32)
    >>> AdaptiveClipping(1).matrix(RowProducts(rows, rule="mean")).tolist()
    [1.0, 1.0, 0.25]
    """

    tolerate: int
    name: ClassVar[str] = "arc"
    bound: ClassVar[str] = "2f + 1"

    def __post_init__(self) -> None:
        require_tolerance(self.tolerate, rule=self.name)

    def minimum(self) -> int:
        """2f + 1."""
        return 2 * self.tolerate + 1

    def needed(self, count: int) -> int:
        """As many rows come out as went in."""
        return count

    def matrix(self, products: Products) -> Float64Array:
        """``(n,)`` factors."""
        n = products.count
        clipped = 2 * self.tolerate * (n - self.tolerate) // n
        limit = float(np.sqrt(np.sort(products.squares)[n - clipped - 1]))
        return clip_factors(products.squares, limit)


@dataclass(frozen=True)
class NormClippedMean(WeighingRule):
    """``1/n Σ x_i · min(1, C/‖x_i‖)``: the mean of :class:`Clipping`'s rows.

    f hostile devices move it by at most ``2C·f/n``: a bound, however they lie, but one that grows with f, so no
    breakdown point in the sense of the other rules (f/n for "stays finite", 0 for "stays near the honest mean"). It
    is the rule with a plain sensitivity for differential privacy, and in large fleets with few hostile devices often
    all that is needed (Shejwalkar et al. 2022, arXiv:2108.10241).

    Args:
        limit: C; None for the median length.

    >>> NormClippedMean(1.0)(np.array([[0.5], [100.0]], np.float32)).tolist()
    [0.75]
    """

    limit: float | None = None
    name: ClassVar[str] = "norm_clipped_mean"

    def __post_init__(self) -> None:
        _require_limit(self.limit, self.name)

    def minimum(self) -> int:
        """One update is enough."""
        return 1

    def weights(self, products: Products) -> Float64Array:
        """``1/n`` times the factors."""
        factors: Float64Array = clip_factors(products.squares, self.limit) / products.count
        return factors
