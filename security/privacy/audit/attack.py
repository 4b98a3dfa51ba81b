"""How well an attack tells members from non-members, as it is reported for membership inference.

True positive rate at a low false positive rate, not average accuracy (Carlini et al., "Membership inference attacks
from first principles", arXiv:2112.03570), each with its confidence interval.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.errors import InputError

__all__ = ["AttackStrength", "attack_strength"]


@dataclass(frozen=True)
class AttackStrength:
    """What an attack reaches.

    Attributes:
        auc: probability that a member scores above a non-member; ties count half.
        tpr: true positive rate at each false positive rate, with its interval.
        confidence: of the intervals.
    """

    auc: float
    tpr: dict[float, tuple[float, float, float]]
    confidence: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        rows = [{"fpr": fpr, "tpr": value, "low": low, "high": high} for fpr, (value, low, high) in self.tpr.items()]
        return {"auc": self.auc, "tpr_at_fpr": rows, "confidence": self.confidence}


def attack_strength(
    members: npt.ArrayLike,
    others: npt.ArrayLike,
    rates: tuple[float, ...] = (0.001, 0.01),
    confidence: float = 0.95,
) -> AttackStrength:
    """Measure scores, larger for "member".

    The threshold at a false positive rate r is the largest score that at most a share r of non-members reach or
    exceed. With fewer than 1/r non-members no alarm is allowed at all, and the figure is the share of members above
    all non-members: read its interval.

    Args:
        members: ``(a,)`` scores of those that were in.
        others: ``(b,)`` scores of those that were not.
        rates: false positive rates.
        confidence: of the Clopper-Pearson intervals, which hold for the members' share at a fixed threshold.

    Raises:
        InputError: there are no scores of one kind, or one is not a number.
    """
    from scipy.stats import beta, rankdata

    inside, outside = np.asarray(members, np.float64), np.asarray(others, np.float64)
    if not len(inside) or not len(outside) or np.isnan(inside).any() or np.isnan(outside).any():
        raise InputError("an attack is measured on scores of members and of others, none of them NaN")
    ranks = rankdata(np.concatenate([inside, outside]))[: len(inside)]
    auc = (ranks.sum() - len(inside) * (len(inside) + 1) / 2) / (len(inside) * len(outside))
    level = (1 - confidence) / 2
    falling = np.sort(outside)[::-1]
    tpr: dict[float, tuple[float, float, float]] = {}
    for rate in rates:
        allowed = int(rate * len(outside) + 1e-9)  # alarms
        barrier = falling[allowed] if allowed < len(falling) else -np.inf
        hits = int((inside > barrier).sum())
        low = float(beta.ppf(level, hits, len(inside) - hits + 1)) if hits else 0.0
        high = float(beta.ppf(1 - level, hits + 1, len(inside) - hits)) if hits < len(inside) else 1.0
        tpr[rate] = (hits / len(inside), low, high)
    return AttackStrength(float(auc), tpr, confidence)
