"""The novelty detector: updates that say nothing but what the model's last step said (free riders)."""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import log, sqrt
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array, Reason, Score
from skerry.security.anomaly.bounds import smallest_norm
from skerry.security.anomaly.evidence import FAR, Finding, Mask, Rows, ScreenContext
from skerry.security.anomaly.peers import peers
from skerry.security.anomaly.span import noise_share, shares_in_span

__all__ = ["NOVELTY_ERROR", "NoveltyDetector"]

Float64Array = npt.NDArray[np.float64]

NOVELTY_ERROR = 1e-9
"""Bound on the probability that the noise of one honest update lies so nearly along the last step."""

_FLOOR = log(2) / FAR  # least spread assumed: by default nobody is flagged above half of the usual novelty
_LITTLE = 0.3  # novelty above which nobody is flagged; honest devices had 0.57 and more in the lab, riders 0.1
_LEAST = 1e-6  # novelty that stands for none
_FEWEST = 4


class NoveltyDetector:
    """How much of each update does not lie along the model's last step: what it changed by from round to round.

    Novelty is ``sin`` of the angle between the two, 1 for an update that opposes it or is across it. Whoever hands the
    global model's last step back, under whatever factor and a little noise, has little of it; training has much.

    *With noise* of known std ν the part across the last step, which was fixed before this round's noise was drawn, is
    at least ν·``smallest_norm(d - 1)`` long except with probability ``NOVELTY_ERROR`` = 10⁻⁹; less is a breach.

    *Without noise, relative to the others* (no stated error): flagged when the logarithm lies ``far`` robust standard
    deviations, each at least log(2)/5, below the other devices': by default at most half of what is usual, and at
    most 0.3. And what is new about it must be noise: no more of that may lie in directions of what is new about the
    others' updates than of noise does (:func:`~skerry.security.anomaly.span.noise_share`). A device with far more data
    than the others agrees with the step as well, since it made much of it; what is new about its update is training.
    Where a head is trained, what is new about a device that is alone with a class may be its own: then such an
    update is dropped, and nothing held against its device.

    Cannot see: an echo under noise a third as long as itself, or with a little training on top; an echo of an earlier
    step; the first round.

    Reference for the attack: Lin, Du and Liu 2019, "Free-riders in Federated Learning" (arXiv:1911.12560).
    """

    name: ClassVar[str] = "novelty"
    reason: ClassVar[Reason] = Reason.NOVELTY

    def __init__(self) -> None:
        self._start: Float32Array | None = None

    def examine(
        self, rows: Rows, devices: Sequence[str], trusted: Mask, context: ScreenContext, far: float = FAR
    ) -> list[Finding]:
        """One finding a row."""
        del devices
        last = self._last_step(context)
        if last is None or len(last) != rows.size or not last.any():
            return [_unjudged("no earlier step is known")] * len(rows)
        novelty, across, along = _novelty(rows.values, last)
        least = 0.0
        if context.noise_std > 0:
            least = context.noise_std * smallest_norm(rows.size - 1, NOVELTY_ERROR, steps=context.steps)
        usable = trusted & (rows.lengths > 0)
        around: list[tuple[float, float] | None] = [None] * len(rows)
        if context.noise_std == 0:
            around = peers(np.log(np.maximum(novelty, _LEAST)), usable, _FLOOR)
        if least == 0 and int(usable.sum()) < _FEWEST:
            return [_unjudged(f"{int(usable.sum())} usable updates are too few to say what is usual")] * len(rows)
        found = [
            _judge(float(value), float(part), least, usual, far)
            for value, part, usual in zip(novelty, across, around, strict=True)
        ]
        if not any(finding.distance for finding in found):
            return found
        noisy = _nothing_but_noise(rows, novelty, along, usable)
        return [_weighed(one, bool(same), context.whole) for one, same in zip(found, noisy, strict=True)]

    def learn(self, rows: Float32Array, accepted: Mask, context: ScreenContext) -> None:
        """Remember what the round started from."""
        del rows, accepted
        self._start = None if context.start is None else context.start.copy()

    def state(self) -> dict[str, Any]:
        """What the last round started from (base64 of little-endian float32), as JSON values."""
        return {"start": None if self._start is None else b64encode(self._start.astype("<f4").tobytes()).decode()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`, bit for bit."""
        text = state["start"]
        self._start = None if text is None else np.frombuffer(b64decode(text), "<f4").astype(np.float32)

    def _last_step(self, context: ScreenContext) -> Float32Array | None:
        """``(d,)`` what the model changed by since the last round; None where it is not known."""
        if self._start is None or context.start is None or len(self._start) != len(context.start):
            return None
        step: Float32Array = context.start - self._start
        return step


def _novelty(rows: Float32Array, last: Float32Array) -> tuple[Float64Array, Float64Array, Float64Array]:
    """``(n,)`` sines, 1 where a row does not point along ``last``; lengths of the parts across it, and along it."""
    wide = last.astype(np.float64)
    direction = wide / sqrt(float(wide @ wide))
    sines, parts, along_it = np.ones(len(rows)), np.zeros(len(rows)), np.zeros(len(rows))
    for index, row in enumerate(rows):
        one = row.astype(np.float64)
        along_it[index] = along = float(one @ direction)
        one -= along * direction
        parts[index] = across = sqrt(float(one @ one))
        if along > 0:
            sines[index] = across / sqrt(along * along + across * across)
    return sines, parts, along_it


def _nothing_but_noise(rows: Rows, novelty: Float64Array, along: Float64Array, usable: Mask) -> Mask:
    """``(n,)`` whether what is new about a row has no more of the directions of the others' than noise has."""
    new = novelty > _LEAST
    found = ~new
    members = usable & new
    if members.any():
        rest = (rows.gram - np.outer(along, along))[np.ix_(new, new)]
        shares = shares_in_span(rest, members[new])
        found[new] = shares <= noise_share(int(members.sum()), rows.size)
    return found


def _weighed(finding: Finding, noisy: bool, whole: bool) -> Finding:
    """The finding on an update, once it is known whether what is new about it is nothing but noise."""
    if not finding.distance:
        return finding
    if noisy:
        return replace(finding, excusable=not whole)
    score = finding.scores[0]
    sentence = f"Novelty {score.value:.2f} against the model's last step is little, but no noise."
    return replace(finding, scores=(replace(score, low=None, sentence=sentence),), distance=0.0)


def _judge(value: float, part: float, least: float, usual: tuple[float, float] | None, far: float) -> Finding:
    strangeness, distance, limit = None, 0.0, None
    if usual is not None:
        centre, spread = usual
        limit = min(float(np.exp(centre - far * spread)), _LITTLE)
        strangeness = (centre - log(max(value, _LEAST))) / spread
        distance = strangeness if value < limit else 0.0
    if part < least:
        sentence = (
            f"Repeats the model's last step: what is new is {part:.3g} long, the agreed privacy noise alone is at "
            f"least {least:.3g}."
        )
        return Finding((Score("novelty", value, limit, None, sentence),), distance, True, strangeness)
    if distance and usual is not None:
        sentence = (
            f"Repeats the model's last step: novelty {value:.2f}, {np.exp(usual[0]):.2f} is usual among the others."
        )
    else:
        sentence = f"Novelty {value:.2f} against the model's last step is nothing unusual."
    return Finding((Score("novelty", value, limit, None, sentence),), distance, strangeness=strangeness)


def _unjudged(why: str) -> Finding:
    return Finding((Score("novelty", 1.0, None, None, f"Not compared with the model's last step: {why}."),))
