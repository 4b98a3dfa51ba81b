"""The geometric median: the point with the least sum of distances to all updates."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from skerry.strategies.aggregating import WeighingRule
from skerry.strategies.gram import squared_distances
from skerry.strategies.products import Products
from skerry.strategies.rows import require_tolerance

__all__ = ["GeometricMedian", "geometric_median_weights"]

Float64Array = npt.NDArray[np.float64]

_STEPS = 2000
_ENOUGH = 1e-7  # a step shorter than this share of the mean distance ends the iteration


def geometric_median_weights(gram: Float64Array) -> Float64Array:
    """``(n,)`` convex weights of the geometric median, from a Gram matrix.

    Weiszfeld's iteration on coefficients: with ``y = Σ w_i x_i`` and ``Σ w_i = 1``, ``‖x_i - y‖² = G_ii - 2(Gw)_i +
    wᵀGw``, so the rows themselves are not needed. It cannot leave a row once it stands on one; so it starts from the
    row with the least sum of distances, which is the answer if Vardi and Zhang's condition says so, by a step that
    they show to go downhill: below that no row can be met again.

    Inner products are taken about that row, which takes out what all rows have in common. Distances would not do:
    those to an enormous row swallow the digits of all others, while in an inner product its small weight makes up for
    its size.

    >>> geometric_median_weights(np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 3.0], [0.0, 3.0, 9.0]])).tolist()
    [0.0, 1.0, 0.0]
    """
    n = len(gram)
    lengths = np.sqrt(squared_distances(gram))
    best = int(np.argmin(lengths.sum(axis=1)))
    inner = gram - gram[best][:, None] - gram[best][None, :] + gram[best, best]
    squares = lengths[best] ** 2
    weights = np.zeros(n)
    weights[best] = 1.0
    away = squares > 0
    if not away.any():
        return weights
    pulls = np.zeros(n)
    pulls[away] = 1.0 / lengths[best, away]
    pull = float(np.sqrt(max(0.0, pulls @ inner @ pulls)))
    standing = float(n - away.sum())  # rows at this very place
    if pull <= standing:
        return weights
    share = standing / pull
    weights = (1.0 - share) * pulls / pulls.sum() + share * weights
    for _ in range(_STEPS):
        towards = inner @ weights
        around = np.maximum(squares - 2.0 * towards + float(weights @ towards), np.finfo(float).tiny)
        nearer = 1.0 / np.sqrt(around)
        moved: Float64Array = nearer / nearer.sum()
        change = moved - weights
        weights = moved
        step = max(0.0, float(change @ inner @ change))
        if np.sqrt(step) <= _ENOUGH * n / nearer.sum():  # n/Σ(1/r) is the harmonic mean of the distances r
            break
    return weights


@dataclass(frozen=True)
class GeometricMedian(WeighingRule):
    """``argmin_y Σ ‖x_i - y‖``, to 10⁻⁵ of the distances and not after a fixed number of steps.

    Breakdown point 1/2: while fewer than half of the rows are hostile, the result stays within a constant times the
    spread of the honest rows, wherever the hostile ones lie. Turns with the coordinate system, unlike the median.

    Inner products are from float32 where distances keep six digits in it, else from float64.

    Cost: a Gram matrix (n²d), a few hundred products with an (n, n) matrix, one more pass.

    Reference: Weiszfeld 1937; Vardi and Zhang 2000, "The multivariate L1-median and associated data depth" (PNAS);
    Pillutla, Kakade and Harchaoui 2022, "Robust Aggregation for Federated Learning" (arXiv:1912.13445).

    Args:
        tolerate: f, devices that may be hostile.

    >>> rows = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]], np.float32)
    >>> GeometricMedian(tolerate=1)(rows).round(6).tolist()
    [1.0, 1.0]
    """

    tolerate: int = 0
    name: ClassVar[str] = "geometric_median"
    bound: ClassVar[str] = "2f + 1"

    def __post_init__(self) -> None:
        require_tolerance(self.tolerate, rule=self.name)

    def minimum(self) -> int:
        """A majority must be honest: 2f + 1."""
        return 2 * self.tolerate + 1

    def weights(self, products: Products) -> Float64Array:
        """Convex weights; a row far out has a weight near zero."""
        quick = products.quick_gram
        return geometric_median_weights(products.gram if quick is None else quick)
