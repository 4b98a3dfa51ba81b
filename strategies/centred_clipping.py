"""Centred clipping: from a starting point, steps by the mean of clipped differences."""

from dataclasses import dataclass, field
from math import isfinite
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from skerry.errors import AggregationError
from skerry.records import Float32Array
from skerry.strategies.aggregating import WeighingRule
from skerry.strategies.clipping import clip_factors
from skerry.strategies.products import Products
from skerry.strategies.rows import require_tolerance

__all__ = ["CentredClipping"]

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CentredClipping(WeighingRule):
    """``v ← v + 1/n Σ (x_i - v)·min(1, τ/‖x_i - v‖)``, L times, from v = start.

    f hostile devices move one step by at most ``τ·f/n``, wherever they lie. That bounds the harm of a round; the
    guarantee in the paper needs honest updates within about τ of the start, so the start should be a good guess: zero
    for deltas, or the delta of the round before. Breakdown point: error in O(τ·f/n) for f < n/2, or for f ≤ 0.1·n by
    the paper's constants. Attacks that know the history get past a fixed start (arXiv:2208.09894).

    Without a radius τ is, in each step, the median of the distances to v.

    Cost: without a start and with one step two passes over the data; else a Gram matrix. ``start`` is given to each
    call by building the rule anew: rules keep nothing from round to round.

    Reference: Karimireddy, He and Jaggi 2021, "Learning from History for Byzantine Robust Optimization" (ICML,
    arXiv:2012.10333).

    Args:
        tolerate: f, devices that may be hostile; only the number of rows is checked by it.
        radius: τ; None for the median distance.
        iterations: L.
        start: ``(d,)`` float32; None for zero.

    >>> rows = np.array([[1.0], [2.0], [90.0]], np.float32)
    >>> CentredClipping(1, radius=3.0)(rows).tolist()
    [2.0]
    """

    tolerate: int = 0
    radius: float | None = None
    iterations: int = 1
    start: Float32Array | None = field(default=None, compare=False)
    name: ClassVar[str] = "centred_clipping"
    bound: ClassVar[str] = "2f + 1"

    def __post_init__(self) -> None:
        require_tolerance(self.tolerate, rule=self.name)
        if self.radius is not None and not (isfinite(self.radius) and self.radius > 0):
            raise AggregationError(f"{self.name} needs a positive radius, not {self.radius}", where=self.name)
        if self.iterations < 1:
            raise AggregationError(f"{self.name} needs at least one step, not {self.iterations}", where=self.name)
        if self.start is not None and not np.isfinite(self.start).all():
            raise AggregationError(f"{self.name} cannot start from a vector that is not finite", where=self.name)

    @property
    def anchor(self) -> Float32Array | None:
        """The start keeps the weight that no row has."""
        return self.start

    def minimum(self) -> int:
        """A majority must be honest: 2f + 1."""
        return 2 * self.tolerate + 1

    def weights(self, products: Products) -> Float64Array:
        """Coefficients c of ``v = start + Σ c_i (x_i - start)``."""
        n = products.count
        if self.iterations == 1 and self.start is None:
            factors: Float64Array = clip_factors(products.squares, self.radius) / n
            return factors
        inner = products.gram
        if self.start is not None:  # of rows measured from the start
            along = products.against(self.start)
            length = float(np.vdot(self.start.astype(np.float64), self.start))
            inner = inner - along[:, None] - along[None, :] + length
        squares = np.diagonal(inner)
        reached = np.zeros(n)
        for _ in range(self.iterations):
            towards = inner @ reached
            around = np.maximum(squares - 2.0 * towards + float(reached @ towards), 0.0)
            shares = clip_factors(around, self.radius) / n
            reached = reached * (1.0 - shares.sum()) + shares
        return reached
