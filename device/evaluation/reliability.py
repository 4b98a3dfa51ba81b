"""The reliability diagram: how often a model is right, by how sure it said it was."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from skerry.device.tasks.metrics import BINS, bin_of, confidence_and_right
from skerry.records import Float32Array

__all__ = ["ReliabilityBin", "reliability"]


@dataclass(frozen=True)
class ReliabilityBin:
    """Examples whose confidence lies between ``low`` and ``high``.

    Attributes:
        low: lower end, excluded.
        high: upper end, included.
        count: how many there are.
        confidence: their mean confidence; None where there are none.
        accuracy: share of right predictions; None where there are none.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


def reliability(logits: Float32Array, y: npt.NDArray[np.int64]) -> tuple[ReliabilityBin, ...]:
    """Fifteen bins of equal width; the mean gap between their confidence and accuracy, by count, is the ECE.

    Args:
        logits: ``(n, classes)`` scores.
        y: ``(n,)`` labels.
    """
    confidence, right = confidence_and_right(logits, y)
    number = bin_of(confidence)
    found = []
    for i in range(BINS):
        inside = number == i
        some = bool(inside.any())
        found.append(
            ReliabilityBin(
                low=i / BINS,
                high=(i + 1) / BINS,
                count=int(inside.sum()),
                confidence=float(confidence[inside].mean()) if some else None,
                accuracy=float(right[inside].mean()) if some else None,
            )
        )
    return tuple(found)
