"""Telling examples of another kind (out of distribution) from those of the task, by scores that the model gives anyway.

* *MSP*, the maximum softmax probability: Hendrycks & Gimpel (arXiv:1610.02136);
* *energy*, log Σ exp(score): Liu et al. (arXiv:2010.03759), with temperature 1; unlike MSP it sees the scores' size.

Both are larger for examples of the task. The second task's examples are one kind of stranger only: a figure here says
nothing about another kind.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from skerry.device.tasks.metrics import log_softmax
from skerry.records import Float32Array

__all__ = ["Separation", "auroc", "energy", "fpr_at_tpr", "msp", "separation"]

_TPR = 0.95


@dataclass(frozen=True)
class Separation:
    """How well one score tells the task's examples from strangers.

    Attributes:
        auroc: probability that an example of the task scores higher than a stranger, a tie counting half; chance: 0.5.
        fpr95: share of strangers that are let in by the threshold that lets in at least 95 % of the task's examples.
    """

    auroc: float
    fpr95: float


def separation(inside: npt.NDArray[np.float64], outside: npt.NDArray[np.float64]) -> Separation:
    """Both figures, from ``(n,)`` scores of the task's examples and ``(m,)`` scores of strangers."""
    return Separation(auroc(inside, outside), fpr_at_tpr(inside, outside))


def msp(logits: Float32Array) -> npt.NDArray[np.float64]:
    """``(n,)`` maximum softmax probabilities."""
    result: npt.NDArray[np.float64] = np.exp(log_softmax(logits).max(axis=1))
    return result


def energy(logits: Float32Array) -> npt.NDArray[np.float64]:
    """``(n,)`` negative free energies, log Σ exp(score)."""
    scores = logits.astype(np.float64)
    top = scores.max(axis=1)
    result: npt.NDArray[np.float64] = top + np.log(np.exp(scores - top[:, None]).sum(axis=1))
    return result


def auroc(inside: npt.NDArray[np.float64], outside: npt.NDArray[np.float64]) -> float:
    """Area under the ROC curve by the Mann-Whitney statistic, with mean ranks for ties."""
    both = np.concatenate([inside, outside])
    _, place, counts = np.unique(both, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = ((last - counts + 1 + last) / 2)[place]  # the mean of a tie's ranks, counted from 1
    n, m = len(inside), len(outside)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def fpr_at_tpr(inside: npt.NDArray[np.float64], outside: npt.NDArray[np.float64], tpr: float = _TPR) -> float:
    """Share of ``outside`` at or above the highest threshold that keeps at least ``tpr`` of ``inside``."""
    needed = int(np.ceil(tpr * len(inside) - 1e-9))
    threshold = np.sort(inside)[::-1][needed - 1]
    return float((outside >= threshold).mean())
