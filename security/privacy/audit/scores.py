"""From canaries' scores to what they prove, and to what they could have proved at best."""

import math
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

_THRESHOLDS = 48
_REACH = 4.0  # standard deviations beyond the means in which thresholds are looked for
_FEW = 200
_CHOOSING, _ENOUGH = 0.2, 500  # a share to choose a threshold on, and no more than so many canaries
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
        share = min(_CHOOSING, _ENOUGH / len(self))
        i, o = max(1, round(share * len(a))), max(1, round(share * len(b)))
        return CanaryScores(a[:i], b[:o]), CanaryScores(a[i:], b[o:])

    def counts(self, threshold: float) -> "Counts":
        """Who scores at least ``threshold``."""
        hits, alarms = int((self.inside >= threshold).sum()), int((self.outside >= threshold).sum())
        return Counts(hits, len(self.inside), alarms, len(self.outside))


@dataclass(frozen=True)
class Counts:
    """Of ``members`` canaries that were in, ``hits`` were called so; of ``others``, ``alarms`` were."""

    hits: int
    members: int
    alarms: int
    others: int


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


_Bound = Callable[[Counts, float, float], float]


def _one_run(c: Counts, delta: float, confidence: float) -> float:
    return one_run_epsilon(c.members + c.others, c.hits + c.alarms, c.hits, delta, confidence)


def _gaussian(c: Counts, delta: float, confidence: float) -> float:
    return gaussian_one_run_epsilon(c.members + c.others, c.hits + c.alarms, c.hits, delta, confidence)


def _members(c: Counts, delta: float, confidence: float) -> float:
    """By those called members."""
    return clopper_pearson_epsilon(c.hits, c.members, c.alarms, c.others, delta, confidence)


def _strangers(c: Counts, delta: float, confidence: float) -> float:
    """By those called strangers."""
    return clopper_pearson_epsilon(c.others - c.alarms, c.others, c.members - c.hits, c.members, delta, confidence)


def _chosen(
    bounds: tuple[_Bound, ...], first: CanaryScores, second: CanaryScores, delta: float, confidence: float
) -> float:
    """The bound on ``second`` at the threshold that ``first`` promises most of.

    A few scores say little about rare false alarms by counting, and the best thresholds lie where those are rare. So
    the promise is read off a normal curve through each kind of score, which sums over many rounds nearly follow.
    Whether they do or not, the bound counts on the second part alone, and holds.
    """
    inside, outside = _curve(first.inside, first.outside), _curve(first.outside, first.inside)
    ends = [mean + side * _REACH * width for mean, width in (inside, outside) for side in (-1, 1)]
    trials = [
        (bound(_promised(inside, outside, second, place), delta, confidence), i, place)
        for place in np.linspace(min(ends), max(ends), _THRESHOLDS).tolist()
        for i, bound in enumerate(bounds)
    ]
    _, best, threshold = max(trials)
    return bounds[best](second.counts(threshold), delta, confidence)


def _curve(values: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation of ``values``; with few of them the width leans on that of both kinds."""
    count, pooled = len(values), (values.var() * len(values) + others.var() * len(others)) / (len(values) + len(others))
    width = math.sqrt((count * float(values.var()) + _FEW * float(pooled)) / (count + _FEW))
    return float(values.mean()), max(width, 1e-9 * float(np.abs(values).max()), 1e-300)


def _promised(inside: tuple[float, float], outside: tuple[float, float], second: CanaryScores, place: float) -> Counts:
    """What to expect on the second part at a threshold."""
    from scipy.special import ndtr

    hits, alarms = (ndtr((mean - place) / width) for mean, width in (inside, outside))
    a, b = len(second.inside), len(second.outside)
    return Counts(round(hits * a), a, round(alarms * b), b)
