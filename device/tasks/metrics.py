"""Quality of scores against labels: accuracy, cross-entropy and calibration."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array

__all__ = ["Quality", "evaluate", "expected_calibration_error"]

BINS = 15


@dataclass(frozen=True)
class Quality:
    """Share of correct predictions, mean cross-entropy in nats, and expected calibration error in 15 bins."""

    accuracy: float
    loss: float
    ece: float


def evaluate(logits: Float32Array, y: npt.NDArray[np.int64]) -> Quality:
    """Quality of ``(n, classes)`` scores against ``(n,)`` labels."""
    scores = logits.astype(np.float64)
    scores -= scores.max(axis=1, keepdims=True)
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    right = logs.argmax(axis=1) == y
    confidence = np.exp(logs.max(axis=1))
    loss = float(-logs[np.arange(len(y)), y].mean())
    return Quality(float(right.mean()), loss, expected_calibration_error(confidence, right))


def expected_calibration_error(confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> float:
    """Mean gap between confidence and accuracy over 15 equal bins, weighted by their counts (Guo et al. 2017)."""
    edges = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gap = 0.0
    for number in np.unique(edges):
        inside = edges == number
        gap += inside.mean() * abs(float(confidence[inside].mean()) - float(right[inside].mean()))
    return float(gap)
