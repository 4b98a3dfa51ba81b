"""Min-Max and Min-Sum: as far from the honest mean as distances to the honest rows allow."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array
from skerry.security.attacks.attack import Attack, Knowledge, repeated
from skerry.security.privacy.stream import RandomStream

__all__ = ["MinMax", "MinSum"]

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MinMax(Attack):
    """``mean - γ·std`` with the largest γ whose distance to *any* honest row is no more than that of two honest rows.

    The authors search γ by halving; the condition is a quadratic for each honest row and is solved exactly here.

    Reference: Shejwalkar and Houmansadr 2021, "Manipulating the Byzantine" (NDSS), AGR-agnostic, unit std.
    """

    def rows(self, known: Knowledge, stream: RandomStream) -> Float32Array:
        """The same row k times; the stream is not used."""
        del stream
        return repeated(_farthest(known.honest, summed=False), known)


@dataclass(frozen=True)
class MinSum(Attack):
    """``mean - γ·std`` with the largest γ whose *sum* of squared distances is no more than any honest row's.

    Reference: as :class:`MinMax`.
    """

    def rows(self, known: Knowledge, stream: RandomStream) -> Float32Array:
        """The same row k times; the stream is not used."""
        del stream
        return repeated(_farthest(known.honest, summed=True), known)


def _farthest(honest: Float32Array, *, summed: bool) -> Float64Array:
    wide = honest.astype(np.float64)
    mean, away = wide.mean(axis=0), -wide.std(axis=0)
    centred = wide - mean
    products = centred @ centred.T
    squares = np.diagonal(products)
    between = np.maximum(squares[:, None] + squares[None, :] - 2 * products, 0.0)
    along, square = centred @ away, float(away @ away)
    gamma = 0.0
    # ‖mean + γ·away - x_i‖² = ‖c_i‖² - 2γ·⟨away, c_i⟩ + γ²·‖away‖², for every row or summed over them.
    if square > 0 and summed:
        room = float(between.sum(axis=1).max() - squares.sum()) / len(wide)
        gamma = sqrt(max(room, 0.0) / square)  # Σ ⟨away, c_i⟩ = 0
    elif square > 0:
        room_each = np.maximum(between.max() - squares, 0.0)
        gamma = float(((along + np.sqrt(along**2 + square * room_each)) / square).min())
    row: Float64Array = mean + gamma * away
    return row
