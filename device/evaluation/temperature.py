"""Temperature scaling: one number by which scores are divided, so that confidence means what it says.

Guo et al., "On Calibration of Modern Neural Networks" (arXiv:1706.04599). Dividing all scores of an example by T > 0
changes no prediction, only how sure it sounds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array

__all__ = ["CrossFitted", "cross_fit", "fit_temperature"]

_SMALLEST, _LARGEST = 1e-2, 1e2
_HALVINGS = 60
_PARTS = 5


def fit_temperature(logits: Float32Array, y: npt.NDArray[np.int64]) -> float:
    """The T in 0.01 … 100 with the least mean cross-entropy of ``logits / T``.

    The cross-entropy is convex in 1/T, so its derivative is followed to zero by bisection; where every example is right
    (or none is better than chance) the best T is infinitely small (or large), and the end of the range is taken.

    Args:
        logits: ``(n, classes)`` scores.
        y: ``(n,)`` labels.
    """
    scores = logits.astype(np.float64)
    scores -= scores.max(axis=1, keepdims=True)
    own = scores[np.arange(len(y)), y].mean()

    def slope(inverse: float) -> float:
        powers = np.exp(scores * inverse)
        return float(((powers * scores).sum(axis=1) / powers.sum(axis=1)).mean() - own)

    low, high = np.log(1 / _LARGEST), np.log(1 / _SMALLEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(float(np.exp(middle))) > 0 else (middle, high)
    return float(np.exp(-(low + high) / 2))


@dataclass(frozen=True)
class CrossFitted:
    """Scores of every example divided by a temperature that was fitted without it.

    Attributes:
        logits: ``(n, classes)``.
        temperature: fitted on all examples: the one to use from now on. No figure of this evaluation uses it.
    """

    logits: Float32Array
    temperature: float


def cross_fit(logits: Float32Array, y: npt.NDArray[np.int64], holders: Sequence[int]) -> CrossFitted:
    """Scale each holder's scores by the temperature of all the other holders' examples.

    So a figure from the scaled scores says what scaling does on a device that was not there when it was fitted. A
    single holder is cut in five random parts instead, which then share that holder.

    Args:
        logits: ``(n, classes)`` scores, holder after holder.
        y: ``(n,)`` labels.
        holders: how many examples each holder has.
    """
    group = np.repeat(np.arange(len(holders)), holders)
    if len(holders) == 1:
        group = np.random.default_rng(0).permutation(len(y)) % min(_PARTS, len(y))
    scaled = np.empty_like(logits)
    for part in np.unique(group):
        inside = group == part
        others = ~inside if not inside.all() else inside
        scaled[inside] = logits[inside] / np.float32(fit_temperature(logits[others], y[others]))
    return CrossFitted(scaled, fit_temperature(logits, y))
