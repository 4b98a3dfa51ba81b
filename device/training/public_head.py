"""The first head: logistic regression on public examples, as good as they allow, before any device is asked.

Multinomial logistic regression with weight decay, by L-BFGS on the whole set; the decay is the one with the least
validation loss on a fifth of the examples, and the head is then fitted on all of them.
"""

import numpy as np
import numpy.typing as npt

from skerry.device.tasks.metrics import softmax
from skerry.records import Float32Array

__all__ = ["fit_public_head"]

_DECAYS = (1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
_STEPS = 200
_TOLERANCE = 1e-6


def fit_public_head(inputs: Float32Array, y: npt.NDArray[np.int64], classes: int) -> Float32Array:
    """``(classes, k)`` float32 head for ``(n, k)`` inputs; zero when there are no public labels (all are negative)."""
    labelled = y >= 0
    if not labelled.any():
        return np.zeros((classes, inputs.shape[1]), np.float32)
    x, target = inputs[labelled].astype(np.float64), y[labelled]
    fold = np.random.default_rng(0).permutation(len(x)) % 5 == 0
    losses: dict[float, float] = {}
    weight = None
    for decay in _DECAYS:  # from the strongest, whose solution comes first, each starting where the last one ended
        weight = _fit(x[~fold], target[~fold], classes, decay, weight)
        losses[decay] = _loss(weight, x[fold], target[fold])
    return _fit(x, target, classes, min(losses, key=losses.__getitem__), weight).astype(np.float32)


def _fit(
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.int64],
    classes: int,
    decay: float,
    start: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float64]:
    from scipy.optimize import minimize

    target = np.eye(classes)[y]

    def objective(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        weight = flat.reshape(classes, -1)
        scores = x @ weight.T
        scores -= scores.max(axis=1, keepdims=True)
        powers = np.exp(scores)
        sums = powers.sum(axis=1, keepdims=True)
        loss = float((np.log(sums[:, 0]) - scores[np.arange(len(y)), y]).mean() + 0.5 * decay * flat @ flat)
        gradient = (powers / sums - target).T @ x / len(x) + decay * weight
        return loss, gradient.ravel()

    first = np.zeros(classes * x.shape[1]) if start is None else start.ravel()
    found = minimize(objective, first, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS, "gtol": _TOLERANCE})
    weight: npt.NDArray[np.float64] = found.x.reshape(classes, -1)
    return weight


def _loss(weight: npt.NDArray[np.float64], x: npt.NDArray[np.float64], y: npt.NDArray[np.int64]) -> float:
    return float(-np.log(softmax(x @ weight.T)[np.arange(len(y)), y] + 1e-12).mean())
