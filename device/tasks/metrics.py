"""Quality of scores against labels: accuracy, cross-entropy and calibration."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array

__all__ = [
    "BINS",
    "Quality",
    "bin_of",
    "confidence_and_right",
    "evaluate",
    "expected_calibration_error",
    "log_softmax",
    "softmax",
]

BINS = 15


@dataclass(frozen=True)
class Quality:
    """Share of correct predictions, mean cross-entropy in nats, and expected calibration error in 15 bins."""

    accuracy: float
    loss: float
    ece: float


def evaluate(logits: Float32Array, y: npt.NDArray[np.int64]) -> Quality:
    """Quality of ``(n, classes)`` scores against ``(n,)`` labels."""
    confidence, right = confidence_and_right(logits, y)
    loss = float(-log_softmax(logits)[np.arange(len(y)), y].mean())
    return Quality(float(right.mean()), loss, expected_calibration_error(confidence, right))


def softmax(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``(..., classes)`` probabilities that ``(..., classes)`` scores stand for."""
    powers: npt.NDArray[np.float64] = np.exp(scores - scores.max(axis=-1, keepdims=True))
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers


def log_softmax(logits: Float32Array) -> npt.NDArray[np.float64]:
    """``(n, classes)`` logarithms of the probabilities that ``(n, classes)`` scores stand for."""
    scores = logits.astype(np.float64)
    scores -= scores.max(axis=1, keepdims=True)
    result: npt.NDArray[np.float64] = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return result


def confidence_and_right(
    logits: Float32Array, y: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """``(n,)`` probability of each prediction, and whether it is right."""
    logs = log_softmax(logits)
    return np.exp(logs.max(axis=1)), logs.argmax(axis=1) == y


def bin_of(confidence: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """``(n,)`` number of each confidence's bin, 0 to 14; a bin has its upper end and not its lower one."""
    return np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], confidence)


def expected_calibration_error(confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> float:
    """Mean gap between confidence and accuracy over 15 equal bins, weighted by their counts (Guo et al. 2017)."""
    numbers = bin_of(confidence)
    gap = 0.0
    for number in np.flatnonzero(np.bincount(numbers, minlength=BINS)):
        inside = numbers == number
        gap += inside.mean() * abs(float(confidence[inside].mean()) - float(right[inside].mean()))
    return float(gap)
