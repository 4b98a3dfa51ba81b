"""From canaries' scores to what they prove, and to what they could have proved at best."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.errors import InputError
from skerry.security.privacy.audit.attack import AttackStrength, attack_strength
from skerry.security.privacy.audit.bounds import (
    clopper_pearson_epsilon,
    gaussian_mu,
    gaussian_one_run_epsilon,
    one_run_epsilon,
)

__all__ = ["CanaryScores", "ScoreAudit", "audit_scores", "ceiling", "gaussian_scores"]

_THRESHOLDS = 32
_CHOOSING = 0.3
_CEILING_DRAWS = 5


@dataclass(frozen=True)
class CanaryScores:
    """Scores of canaries, larger for "was in".

    Attributes:
        inside: ``(a,)`` of those whose coin put them in.
        outside: ``(b,)`` of those left out.
    """

    inside: npt.NDArray[np.float64]
    outside: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if not len(self.inside) or not len(self.outside):
            raise InputError("an audit needs canaries that were in and canaries that were not")
        if np.isnan(self.inside).any() or np.isnan(self.outside).any():
            raise InputError("a canary's score is not a number")

    def __len__(self) -> int:
        return len(self.inside) + len(self.outside)

    def parts(self, generator: np.random.Generator) -> tuple["CanaryScores", "CanaryScores"]:
        """A random share to choose a threshold on, and the rest to count on."""
        a, b = generator.permutation(self.inside), generator.permutation(self.outside)
        i, o = max(1, round(_CHOOSING * len(a))), max(1, round(_CHOOSING * len(b)))
        return CanaryScores(a[:i], b[:o]), CanaryScores(a[i:], b[o:])

    def guesses(self, threshold: float) -> tuple[int, int]:
        """How many score at least ``threshold``, and how many of those were in."""
        right = int((self.inside >= threshold).sum())
        return right + int((self.outside >= threshold).sum()), right


@dataclass(frozen=True)
class ScoreAudit:
    """What an audit found. Lower bounds are at :attr:`confidence`, for adding or removing one canary, at :attr:`delta`.

    Attributes:
        canaries: m.
        one_run: ε by one-run auditing, valid for any mechanism.
        one_run_gaussian: ε by one-run auditing of a Gaussian trade-off curve: refutes Gaussian mechanisms only.
        clopper_pearson: ε by error rates; valid where canaries do not influence each other's scores.
        attack: the attack's strength.
        delta: of the claim.
        confidence: of the bounds.
    """

    canaries: int
    one_run: float
    one_run_gaussian: float
    clopper_pearson: float
    attack: AttackStrength
    delta: float
    confidence: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "canaries": self.canaries,
            "epsilon_lower_bound": {
                "one_run": self.one_run,
                "one_run_gaussian": self.one_run_gaussian,
                "clopper_pearson": self.clopper_pearson,
            },
            "attack": self.attack.to_json(),
            "delta": self.delta,
            "confidence": self.confidence,
            "relation": "add/remove one canary",
        }


def audit_scores(scores: CanaryScores, *, delta: float, seed: int, confidence: float = 0.95) -> ScoreAudit:
    """Lower bounds on ε from scores.

    Each bound chooses its threshold on a random part of the canaries and counts on the rest, so that choosing costs
    no confidence.

    Args:
        scores: of canaries put in by fair, independent coins.
        delta: of the claim.
        seed: of the parts; fixed before the scores are seen.
        confidence: of each bound by itself.
    """
    first, second = scores.parts(np.random.default_rng(seed))
    one_run, gaussian, rates = (
        _chosen(bounds, first, second, delta, confidence)
        for bounds in ((_one_run,), (_gaussian,), (_members, _strangers))
    )
    strength = attack_strength(scores.inside, scores.outside, confidence=confidence)
    return ScoreAudit(len(scores), one_run, gaussian, rates, strength, delta, confidence)


def gaussian_scores(epsilon: float, delta: float, canaries: int, generator: np.random.Generator) -> CanaryScores:
    """Scores as the best attack on a Gaussian mechanism that is exactly (ε, δ)-DP would see them, coin by coin."""
    coins = generator.random(canaries) < 0.5
    values = coins + generator.normal(size=canaries) / gaussian_mu(epsilon, delta)
    return CanaryScores(values[coins], values[~coins])


def ceiling(epsilon: float, delta: float, canaries: int, *, confidence: float = 0.95) -> ScoreAudit:
    """The power of an audit: the median of what it would report if the mechanism leaked all of (ε, δ).

    Where a ceiling is zero, an audit with so many canaries cannot see a leak of this size: its zero says nothing.
    """
    draws = [
        audit_scores(
            gaussian_scores(epsilon, delta, canaries, np.random.default_rng(i)),
            delta=delta,
            seed=i,
            confidence=confidence,
        )
        for i in range(_CEILING_DRAWS)
    ]

    def median(name: str) -> float:
        return float(np.median([getattr(draw, name) for draw in draws]))

    middle = sorted(draws, key=lambda draw: draw.attack.auc)[_CEILING_DRAWS // 2]
    return ScoreAudit(
        canaries,
        median("one_run"),
        median("one_run_gaussian"),
        median("clopper_pearson"),
        middle.attack,
        delta,
        confidence,
    )


_Bound = Callable[[CanaryScores, float, float, float], float]


def _one_run(scores: CanaryScores, threshold: float, delta: float, confidence: float) -> float:
    return one_run_epsilon(len(scores), *scores.guesses(threshold), delta, confidence)


def _gaussian(scores: CanaryScores, threshold: float, delta: float, confidence: float) -> float:
    return gaussian_one_run_epsilon(len(scores), *scores.guesses(threshold), delta, confidence)


def _members(scores: CanaryScores, threshold: float, delta: float, confidence: float) -> float:
    """By those called members: the scores at or above the threshold."""
    hits, alarms = int((scores.inside >= threshold).sum()), int((scores.outside >= threshold).sum())
    return clopper_pearson_epsilon(hits, len(scores.inside), alarms, len(scores.outside), delta, confidence)


def _strangers(scores: CanaryScores, threshold: float, delta: float, confidence: float) -> float:
    """By those called strangers: the scores below it."""
    hits, alarms = int((scores.outside < threshold).sum()), int((scores.inside < threshold).sum())
    return clopper_pearson_epsilon(hits, len(scores.outside), alarms, len(scores.inside), delta, confidence)


def _chosen(
    bounds: tuple[_Bound, ...], first: CanaryScores, second: CanaryScores, delta: float, confidence: float
) -> float:
    """The bound on ``second`` that is best on ``first``, at the threshold that is best there.

    Thresholds are quantiles of all scores, denser at both ends, where an attack is surest.
    """
    share = np.geomspace(min(0.5, 2 / len(first)), 0.5, _THRESHOLDS // 2)
    candidates = np.unique(np.quantile(np.concatenate([first.inside, first.outside]), [*share, *(1 - share)]))
    trials = [
        (bound(first, float(t), delta, confidence), i, float(t)) for i, bound in enumerate(bounds) for t in candidates
    ]
    _, best, threshold = max(trials)
    return bounds[best](second, threshold, delta, confidence)
