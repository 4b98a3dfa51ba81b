"""The cosine detector: updates that point against what the other devices agree on, in one round or over many."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import log, log10, sqrt
from typing import Any, ClassVar

import numpy as np

from skerry.records import Float32Array, Reason, Score
from skerry.security.anomaly.bounds import normal_quantile
from skerry.security.anomaly.evidence import FAR, GRAVE, Finding, Mask, Rows, ScreenContext
from skerry.security.anomaly.history import EVIDENCE, CourseHistory
from skerry.security.anomaly.peers import median, peers
from skerry.security.anomaly.reference import cosines_to_others

__all__ = ["COSINE_ERROR", "CosineDetector"]

COSINE_ERROR = 1e-6
"""Bound on the probability that noise alone turns one honest update against the others in one round."""

_QUANTILE = normal_quantile(COSINE_ERROR)
_FLOOR = 0.1  # without noise: least spread assumed between honest cosines
_AGAINST = -0.1  # without noise: a cosine above this is never called opposed
_REVERSED = 0.6  # without noise: of the others' median cosine, how far below zero an opposed one lies at least
_FEWEST = 4  # trusted rows, so that every device has three others to be compared with


class CosineDetector:
    """Cosine of each update to the coordinate-wise median of the *other* trusted updates.

    An honest update is x = s + N, its noise N of std ν per coordinate; m is the median of the others, independent
    of N. So ``z = ⟨x, m⟩/(ν·‖m‖)`` is N(a, 1) with a = ⟨s, m⟩/(ν·‖m‖). **Assumption**: an honest signal does
    not oppose what the others agree on, a ≥ 0. Writers of the same digits meet it; a device with classes that
    nobody else has may not.

    *This round*: flagged when z < -4.75, which noise alone does with probability ≤ ``COSINE_ERROR`` = 10⁻⁶; as a
    cosine, below -4.75·ν/‖x‖. It must also lie ``far`` robust standard deviations under the other devices' cosines, so
    that a cohort of widely spread directions is not accused of its spread.

    *Over the rounds*: the sequential test of :class:`~skerry.security.anomaly.history.CourseHistory`, at most 5
    false alarms in 10⁶ device-rounds.

    *Without noise* no error can be stated, and there is no history: flagged are cosines below -0.1 that also lie
    ``far`` robust standard deviations (of at least 0.1 each) under the other devices', and are at least 0.6 times
    as far below zero as the others' median is above it. An update of a few examples is mostly noise, of either sign; a
    reversed one is as far against the others as it would have been with them. Such an update is dropped, and nothing
    held against its device: an honest one that was alone with one or two classes, among others that were alike, lay up
    to 1.5 times as far below zero as those above it in the lab.

    Cannot see: updates across, not against, the common direction; a flipped update of ordinary length while the
    common signal is small against the noise. Hostile devices that hide in the noise can also turn the median
    by which the others are judged.
    """

    name: ClassVar[str] = "cosine"
    reason: ClassVar[Reason] = Reason.COSINE

    def __init__(self) -> None:
        self._history = CourseHistory()

    def examine(
        self, rows: Rows, devices: Sequence[str], trusted: Mask, context: ScreenContext, far: float = FAR
    ) -> list[Finding]:
        """One finding a row; also carries the history on by this round."""
        if int(trusted.sum()) < _FEWEST:
            return [_unjudged(int(trusted.sum())) for _ in devices]
        noise = context.noise_std
        cosines, lengths = cosines_to_others(rows.values, trusted), rows.lengths
        typical = float(median(np.sort(lengths[trusted])))
        around = peers(cosines, trusted, noise / typical if noise > 0 and typical > 0 else _FLOOR)
        findings = [
            _this_round(float(cosine), float(length), noise, usual, far)
            for cosine, length, usual in zip(cosines, lengths, around, strict=True)
        ]
        if noise > 0:
            weights = self._history.weigh(rows.values, devices, trusted, noise)
            findings = [_with_history(f, weight) for f, weight in zip(findings, weights, strict=True)]
        return findings

    def learn(self, rows: Float32Array, accepted: Mask, context: ScreenContext) -> None:
        """Carry the course on, when there is noise to see through."""
        if context.noise_std > 0:
            self._history.learn(rows, accepted)

    def state(self) -> dict[str, Any]:
        """The history's state."""
        return self._history.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self._history.restore(state)


def _this_round(cosine: float, length: float, noise: float, usual: tuple[float, float] | None, far: float) -> Finding:
    assert usual is not None  # _FEWEST trusted rows leave three others to everyone
    centre, spread = usual
    opposed = (
        min(_AGAINST, -_REVERSED * centre) if noise == 0 else (-_QUANTILE * noise / length if length > 0 else -1.0)
    )
    low = min(opposed, centre - far * spread)
    strangeness = (centre - cosine) / spread
    shown = max(low, -1.0)
    if cosine >= low:
        sentence = f"Cosine {cosine:+.2f} to the others' median is not against it."
        return Finding((Score("cosine", cosine, shown, None, sentence),), strangeness=strangeness)
    sentence = (
        f"Points against the others: cosine {cosine:+.2f} to their median; honest updates stay above {shown:+.2f}."
    )
    # Under noise the error of what lies beyond the fixed limit is stated, so it needs no further distance to count.
    distance = max(strangeness, GRAVE) if noise > 0 and strangeness > FAR else strangeness
    score = Score("cosine", cosine, shown, None, sentence)
    return Finding((score,), distance=distance, strangeness=strangeness, excusable=noise == 0)


def _with_history(finding: Finding, weight: float) -> Finding:
    value, limit = weight / log(10), log10(EVIDENCE)
    if value < limit:
        sentence = f"Evidence over the rounds: 10^{value:.1f} of the 10^{limit:.1f} that raise an alarm."
        score = Score("cosine_history", value, None, limit, sentence)
        return replace(finding, scores=(*finding.scores, score))
    sentence = f"Has kept pointing against the others: evidence 10^{value:.1f}, the alarm is at 10^{limit:.1f}."
    score = Score("cosine_history", value, None, limit, sentence)
    return replace(finding, scores=(*finding.scores, score), distance=max(finding.distance, sqrt(2 * weight), GRAVE))


def _unjudged(count: int) -> Finding:
    sentence = f"Not judged by direction: {count} usable updates are too few to say what is usual."
    return Finding((Score("cosine", 0.0, None, None, sentence),))
