"""What the benchmark ``leakage`` claims of gains and of members told from others, with how sure that is."""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from _harness import Claim

from skerry.security.privacy.audit import attack_strength
from skerry.server.leakage import Shadows, membership_scores

__all__ = ["RATE", "gain_claim", "membership_claim"]

RATE = 0.01  # of false positives

Float64 = npt.NDArray[np.float64]


def gain_claim(
    name: str,
    text: str,
    gains: Float64,
    op: str,
    bar: float,
    spread: Mapping[str, float] | None = None,
    **detail: float,
) -> Claim:
    """The mean of gains.

    Args:
        name: of the claim.
        text: what was attacked, and how.
        gains: ``(n,)``, each of updates of its own; or ``(devices, examples)``: what examples of one device gain comes
            from the same updates, so that a device counts once in the standard error, and a lone one has none.
        op: see :class:`Claim`.
        bar: the same.
        spread: instead of the number of examples and the standard error.
        detail: what else was measured.
    """
    apart = gains.reshape(len(gains), -1).mean(axis=1)
    told: dict[str, float] = {"n": len(apart), "examples": gains.size}
    if len(apart) > 1:
        told["standard_error"] = round(float(apart.std(ddof=1)) / math.sqrt(len(apart)), 4)
    return Claim(
        name, f"{text}: PSNR over guessing the class's public mean", float(gains.mean()), "dB", op, bar,
        spread=spread or told, detail={"share_better": float((gains > 0).mean()), **detail},
    )  # fmt: skip


def membership_claim(
    name: str, what: str, shadows: Shadows, table: str, op: str, bar: float, facts: Mapping[str, float]
) -> Claim:
    """True positives at :data:`RATE` false ones by the scores of one table."""
    scores = membership_scores(getattr(shadows, table), shadows.inside)
    usable = ~np.isnan(scores)
    strength = attack_strength(scores[usable & shadows.inside], scores[usable & ~shadows.inside], (RATE,))
    value, low, high = strength.tpr[RATE]
    return Claim(
        name, f"membership by {what}: true positives at 1 % false ones", value, "share", op, bar,
        spread={"low": low, "high": high, "confidence": strength.confidence},
        detail={"auc": strength.auc, "runs": len(scores), "examples": scores.shape[1], **facts},
    )  # fmt: skip
