"""The first head: logistic regression on public examples, as good as they allow, before any device is asked.

Multinomial logistic regression with weight decay, by accelerated gradient descent (Nesterov) on the whole set; the
decay is the one with the least validation loss on a fifth of the examples, and the head is then fitted on all of them.
"""

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array

__all__ = ["fit_public_head"]

_DECAYS = (1e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
_STEPS = 300


def fit_public_head(inputs: Float32Array, y: npt.NDArray[np.int64], classes: int) -> Float32Array:
    """``(classes, k)`` float32 head for ``(n, k)`` inputs; zero when there are no public labels (all are negative)."""
    labelled = y >= 0
    if not labelled.any():
        return np.zeros((classes, inputs.shape[1]), np.float32)
    x, target = inputs[labelled].astype(np.float64), y[labelled]
    fold = np.random.default_rng(0).permutation(len(x)) % 5 == 0
    losses = [_loss(_fit(x[~fold], target[~fold], classes, decay), x[fold], target[fold]) for decay in _DECAYS]
    return _fit(x, target, classes, _DECAYS[int(np.argmin(losses))]).astype(np.float32)


def _fit(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.int64], classes: int, decay: float
) -> npt.NDArray[np.float64]:
    weight = np.zeros((classes, x.shape[1]))
    before = weight
    target = np.eye(classes)[y]
    step = 1.0 / (0.5 * float(np.linalg.eigvalsh(x.T @ x / len(x))[-1]) + decay)
    for number in range(_STEPS):
        ahead = weight + number / (number + 3) * (weight - before)
        gradient = (_softmax(x @ ahead.T) - target).T @ x / len(x) + decay * ahead
        before, weight = weight, ahead - step * gradient
    return weight


def _loss(weight: npt.NDArray[np.float64], x: npt.NDArray[np.float64], y: npt.NDArray[np.int64]) -> float:
    return float(-np.log(_softmax(x @ weight.T)[np.arange(len(y)), y] + 1e-12).mean())


def _softmax(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: npt.NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return result
