"""Clipping: updates that are too long are shortened before a rule sees them."""

from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from skerry.errors import AggregationError
from skerry.strategies.products import Products

__all__ = ["Clipping", "clip_factors", "require_limit"]

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


def require_limit(limit: float | None, rule: str) -> None:
    """Refuse a length that nothing can be clipped to.

    Raises:
        AggregationError: not finite, or not positive.
    """
    if limit is not None and not (isfinite(limit) and limit > 0):
        raise AggregationError(f"{rule} needs a positive length to clip to, not {limit}", where=rule)


@dataclass(frozen=True)
class Clipping:
    """``y_i = x_i · min(1, C/‖x_i‖)``: no update is longer than C; directions stay.

    With C fixed in advance no device can send more than C, which is what bounds the sensitivity of a mean. Without it
    C is the median length, which a minority of devices cannot move outside the range of the honest lengths.

    The rows that were sent are never changed: clipping is a factor on each row's weight.

    The breakdown point is that of the rule that follows; a mean after it is moved by at most ``2C·f/n``.

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
        require_limit(self.limit, self.name)

    def minimum(self) -> int:
        """One update is enough."""
        return 1

    def needed(self, count: int) -> int:
        """As many rows come out as went in."""
        return count

    def matrix(self, products: Products) -> Float64Array:
        """``(n,)`` factors."""
        return clip_factors(products.squares, self.limit)
