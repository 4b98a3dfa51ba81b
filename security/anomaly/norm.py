"""The norm detector: updates that are larger than an honest one can be, or smaller than its noise allows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, inf, isfinite, log
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array, Reason, Score
from skerry.security.anomaly.bounds import largest_norm, smallest_norm
from skerry.security.anomaly.evidence import FAR, Finding, Mask, Rows, ScreenContext
from skerry.security.anomaly.peers import peers
from skerry.security.anomaly.span import shares_in_span

__all__ = ["NORM_ERROR", "NormDetector"]

Float64Array = npt.NDArray[np.float64]

NORM_ERROR = 1e-9
"""Bound on the probability that an honest update fails the calibrated limits in one round."""

_FLOOR = log(1.25)  # least spread assumed between honest devices: ±25 %
_LARGEST_LOG = 700.0  # exp of more overflows; no float32 vector is so long
_FOREIGN = 0.1  # of the usual share in the others' span; the lab's noise has a fiftieth, a single example a sixth
_FEWEST = 3  # rows of ordinary length
_ROUNDING = 1e-4  # relative slack on a bound that devices meet in float32


class NormDetector:
    """Two limits for ‖delta‖, one from public constants and one from the other devices.

    *Calibrated* (needs no other device, so any number of updates may fail it): with privacy noise of known std ν and
    honest signals within the public bound B, the norm of an honest update lies between ν·``smallest_norm(d)`` and
    ν·``largest_norm(d, B/ν)`` except with probability ``NORM_ERROR`` = 10⁻⁹ a round, by chi-square concentration (see
    :mod:`skerry.security.anomaly.bounds`). An update below the lower limit lacks the noise that its device
    promised. Without noise the limit is B itself, and passing it is a breach, not a chance event.

    *Relative* (catches what B is too loose for; no stated error of its own): at most ``exp(far·spread)`` times
    the other devices' median norm, the spread being the robust standard deviation of their log-norms and at least
    log 1.25. With ``far`` = 5, devices whose honest norms differ by up to three times never fail it. What fails it is
    clipped to it, and that is all: the fewer examples an update averages over, the longer it is, and nobody knows over
    how many it does. Among devices that are alike, one with a single example was up to 22 times as long as the others
    in the lab. Clipping leaves one device no more than it has anyway: a row of that length passes. Nor does it leave
    many of one attacker more, as far as ``similarity`` compares rows at the lengths that they are clipped to, and a
    copy at another length is a copy to it.

    *Long and foreign* (no stated error of its own): where whole networks are trained, a row that is too long is dropped
    when next to nothing of it lies in the span of the other devices' rows, less than a tenth of what does of theirs.
    Few examples lengthen an update in directions that other examples have too; noise does not. Where a head is trained
    it is clipped all the same: a device that is alone with a class sends long rows of its own.

    With privacy noise every example is clipped, so few examples are no excuse, and the relative limit drops.

    Cannot see: a hostile update of ordinary length.
    """

    name: ClassVar[str] = "norm"
    reason: ClassVar[Reason] = Reason.NORM

    def examine(
        self, rows: Rows, devices: Sequence[str], trusted: Mask, context: ScreenContext, far: float = FAR
    ) -> list[Finding]:
        """One finding a row."""
        del devices
        low, high = _calibrated(rows.size, context)
        lengths = rows.lengths
        positive = lengths > 0
        logs = np.log(lengths, out=np.full(len(rows), -inf), where=positive)
        usual = peers(logs, trusted & positive, _FLOOR)
        found = [_judge(float(v), low, high, around, far) for v, around in zip(lengths, usual, strict=True)]
        long = np.array([finding.clips for finding in found], np.bool_)
        if not (long.any() and context.whole):
            return found
        shares, typical = _in_span(rows, positive, trusted & positive & ~long)
        return [
            _foreign(finding, float(share), typical) if finding.clips and share < _FOREIGN * typical else finding
            for finding, share in zip(found, shares, strict=True)
        ]

    def learn(self, rows: Float32Array, accepted: Mask, context: ScreenContext) -> None:
        """Nothing: each round is judged by itself."""

    def state(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore."""


def _calibrated(size: int, context: ScreenContext) -> tuple[float | None, float]:
    noise, bound = context.noise_std, context.signal_bound
    if noise == 0:
        return None, bound * (1 + _ROUNDING)
    error = NORM_ERROR / 2
    low = noise * smallest_norm(size, error, steps=context.steps)
    high = noise * largest_norm(size, bound / noise, error, steps=context.steps) if isfinite(bound) else inf
    return low, high


@dataclass(frozen=True)
class _Around:
    """One length among the others'.

    Attributes:
        strangeness: how far above them, in robust standard deviations; None with too few others to say.
        typical: their median.
        limit: the longest that passes among them.
    """

    strangeness: float | None = None
    typical: float = 0.0
    limit: float = inf


def _among(value: float, usual: tuple[float, float] | None, far: float) -> _Around:
    """The length beside the median and spread of the others' logarithms."""
    if usual is None:
        return _Around()
    centre, spread = usual
    strangeness = (log(value) - centre) / spread if value > 0 else -_LARGEST_LOG
    return _Around(strangeness, exp(centre), exp(min(centre + far * spread, _LARGEST_LOG)))


def _judge(value: float, low: float | None, high: float, usual: tuple[float, float] | None, far: float) -> Finding:
    """The finding on one length: ``low`` and ``high`` follow from public constants, ``usual`` from the others."""
    around = _among(value, usual, far)
    long = around.strangeness is not None and around.strangeness > far
    breach = value > high or (low is not None and value < low)
    shown = min(high, around.limit)
    score = Score("norm", value, low or None, shown if isfinite(shown) else None, _said(value, low, high, around, long))
    return Finding(
        (score,),
        distance=around.strangeness if long and around.strangeness is not None else 0.0,
        certain=breach,
        strangeness=around.strangeness,
        scale=around.limit / value if long else 1.0,
        clips=long and low is None and not breach,
    )


def _said(value: float, low: float | None, high: float, around: _Around, long: bool) -> str:
    """The sentence for the operator."""
    if low is not None and value < low:
        return (
            f"Norm {value:.3g} is below {low:.3g}, the least that the agreed privacy noise leaves: "
            "the noise was reduced or left out."
        )
    if value > high:
        times = f"{value / high:.3g} times the" if high > 0 else "more than the"
        return f"Norm {value:.3g} is {times} most that an honest update can reach, {high:.3g}."
    if long:
        return (
            f"Norm {value:.3g} is {value / around.typical:.3g} times the other devices' median; "
            f"up to {around.limit / around.typical:.3g} times is usual among them."
        )
    return f"Norm {value:.3g} is within what honest devices send."


def _in_span(rows: Rows, positive: Mask, members: Mask) -> tuple[Float64Array, float]:
    """Share of each row in the span of the other members, and what is usual among these; 0 with too few to say."""
    shares = np.zeros(len(rows))
    if members.sum() < _FEWEST:
        return shares, 0.0
    shares[positive] = shares_in_span(rows.gram[np.ix_(positive, positive)], members[positive])
    return shares, float(np.median(shares[members]))


def _foreign(finding: Finding, share: float, typical: float) -> Finding:
    """The finding on a row that is too long, once it is known to go where no other row goes."""
    score = finding.scores[0]
    sentence = f"{score.sentence} {share:.1%} of it lies in directions of other updates, {typical:.0%} is usual."
    return replace(finding, scores=(replace(score, sentence=sentence),), clips=False)
