"""The root-set detector: updates that no mixture of classes explains, where the server has examples of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array, Reason, Score
from skerry.security.anomaly.bounds import largest_norm
from skerry.security.anomaly.cone import Cone
from skerry.security.anomaly.evidence import FAR, GRAVE, Finding, Mask, Rows, ScreenContext
from skerry.security.anomaly.peers import median, median_without

__all__ = ["ROOT_ERROR", "RootSetDetector"]

Float64Array = npt.NDArray[np.float64]

ROOT_ERROR = 1e-9
"""Bound on the probability that noise alone is called unexplained."""

_SPREAD = log(5) / FAR  # of the logarithm: by default five times the usual unexplained share is flagged
_LEAST = 0.06  # what a smaller share counts as: below five times as much, 30 %, nothing is called much
_BACKWARDS = 0.25  # of the squared length: more is explained of the reverse than of three examples' in the lab, 20 %
_MISLABELLED = 0.75  # of the rest; of three examples' at most 69 % in the lab, of flipped labels' 83 % and more
_ROOM = 20  # coordinates for each wrongly labelled update: fewer could explain anything
_NEXT_TO_NOTHING = 0.12  # explained; of two examples at least 17 % is
_TOO_MUCH = 6.0  # times the others' weight in the mixture
_LIGHT = 1e-9  # what a smaller weight counts as
_FEWEST = 4
_UNSOLVED = "its nearest mixture was not found"


class RootSetDetector:
    """Share of each update's squared length that no mixture of the root set's classes, whatever its weights, explains.

    The server computes one update for each class of public examples as a device would (``ScreenContext.root``,
    ``(k, d)``). A device with classes in proportions p sends about ``Σ p_c r_c``, p ≥ 0: label skew changes the weights
    and leaves no rest. Reversed updates, random directions, stale ones and gradients of wrong labels are outside that
    cone. The nearest mixture is found by non-negative least squares on inner products.

    *With noise* of std ν the rest of an honest update holds its noise: ν²·``largest_norm(d)``² is taken off the squared
    rest, which noise alone exceeds with probability at most ``ROOT_ERROR`` = 10⁻⁹.

    *Relative to the others* (no stated error of its own): flagged at five times the others' median share, a share below
    0.06 counting as 0.06. Strangeness is the logarithm of the ratio in units of log(5)/5. The spread of the others is
    not measured: hostile rows would widen it.

    *And only if few examples do not explain it.* An update of a few examples is no mixture of what many have in common,
    however honest: in the lab a half of it is left. But it points where its classes do. So a large rest is held against
    an update only when 25 % more of its *reverse* is explained, as of reversed updates, when next to nothing of it
    is explained, under 12 %, as of noise, or when *wrong labels* explain three quarters of the rest: the server
    computes what public examples of each class would teach under each other label (``ScreenContext.mislabelled``, asked
    for in rounds with such a rest only), and adds that to the mixture.

    *Mixture and too much of it*: the weights of honest mixtures add up to about what the others' do, those of a single
    example to five times that at most in the lab. Six times as much is flagged where the root set fits.

    **It says less where the root set fits less, and then nothing**: once a fifth of the usual update is unexplained,
    five times that is all of it, and nobody can be flagged. Public examples of another look, labels of another meaning,
    classes that are missing and a model that was fitted to the root set before lead there; its own kind leaves 5 to
    25 % in the lab. In the shipped digits scenario without privacy the classes explain 4 to 7 % of an honest update.

    **Assumption**: no device is the only one of its kind. Where the root set describes most devices, one whose examples
    look like nobody's (negated readings of another sensor), or that has a class which the root set lacks, can look
    hostile.

    Who labels what the public examples call one class as another *is* hostile to it, whatever the reason.

    Cannot see: anything in the cone, such as honest training on some classes alone, or the gradient of a wrong label
    that looks like the right one's; wrong labels on a small part of the examples; stale updates and whatever else
    points half right; backdoors that change little; and under noise whatever is shorter than it.

    Why not the loss on the root set: under label skew an honest update raises the loss of most classes, and the mean
    loss cannot tell it from a hostile one. Reference for a root set: Cao et al. 2021, "FLTrust" (NDSS), which has one
    update for all classes.
    """

    name: ClassVar[str] = "root_set"
    reason: ClassVar[Reason] = Reason.ROOT_SET

    def examine(
        self, rows: Rows, devices: Sequence[str], trusted: Mask, context: ScreenContext, far: float = FAR
    ) -> list[Finding]:
        """One finding a row."""
        del devices
        root, usable = context.root, trusted & (rows.lengths > 0)
        if root is None or not root.any():
            return [_unjudged("the server has no updates of its own")] * len(rows)
        if not np.isfinite(root).all():
            return [_unjudged("the server's own updates are not finite")] * len(rows)
        fits = _fits(rows, root, context.noise_std)
        found = np.array([fit is not None for fit in fits], np.bool_)
        usable &= found
        if int(usable.sum()) < _FEWEST:
            return [_unjudged(f"{int(usable.sum())} usable updates are too few to say what is usual")] * len(rows)
        rest = np.log([_LEAST if fit is None else max(fit.rest, _LEAST) for fit in fits])
        weight = np.log([_LIGHT if fit is None else max(fit.weight, _LIGHT) for fit in fits])
        usual = zip(np.exp(_others(rest, usable)).tolist(), np.exp(_others(weight, usable)).tolist(), strict=True)
        judged = [None if fit is None else (fit, *around) for fit, around in zip(fits, usual, strict=True)]
        doubtful = [i for i, one in enumerate(judged) if one is not None and _unexplained(*one[:2], far)]
        wrong = _mislabelled(rows, doubtful, fits, context)
        return [
            _unjudged(_UNSOLVED) if one is None else _judge(*one, far, wrong.get(i, 0.0))
            for i, one in enumerate(judged)
        ]

    def learn(self, rows: Float32Array, accepted: Mask, context: ScreenContext) -> None:
        """Nothing: each round is judged by itself."""

    def state(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore."""


def _others(values: Float64Array, usable: Mask) -> Float64Array:
    """``(n,)`` median of the usable values of the others."""
    ordered = np.sort(values[usable])
    return np.where(usable, median_without(values, ordered), median(ordered))


@dataclass(frozen=True)
class _Fit:
    """The nearest mixture of one update.

    Attributes:
        rest: share of the squared length that it leaves, less the noise.
        forward: share that it explains.
        backward: share of the *reversed* update that its own nearest mixture explains.
        weight: sum of the mixture's weights.
    """

    rest: float
    forward: float
    backward: float
    weight: float


def _fits(rows: Rows, root: Float32Array, noise: float) -> list[_Fit | None]:
    """For each row its nearest mixture; None where it was not found, and an empty one for a row of zeros."""
    cone = Cone(rows, root)
    hidden = (noise * largest_norm(rows.size, 0.0, ROOT_ERROR)) ** 2
    found: list[_Fit | None] = []
    for index, square in enumerate((rows.lengths**2).tolist()):
        ahead, back = cone.nearest(index), cone.nearest(index, -1)
        if square == 0:
            found.append(_Fit(0.0, 0.0, 0.0, 0.0))
        elif ahead is None or back is None:
            found.append(None)
        else:
            rest = max(1 - ahead[0] - hidden / square, 0.0)
            found.append(_Fit(rest, ahead[0], back[0], float(ahead[1].sum())))
    return found


def _strangeness(fit: _Fit, usual: float) -> float:
    return log(max(fit.rest, _LEAST) / usual) / _SPREAD


def _unexplained(fit: _Fit, usual: float, far: float) -> bool:
    """Its rest is large, and neither its reverse nor the lack of any share explains why."""
    return _strangeness(fit, usual) > far and not (_backwards(fit) or fit.forward < _NEXT_TO_NOTHING)


def _backwards(fit: _Fit) -> bool:
    return fit.backward > fit.forward + _BACKWARDS


def _mislabelled(
    rows: Rows, doubtful: Sequence[int], fits: Sequence[_Fit | None], context: ScreenContext
) -> dict[int, float]:
    """Share of the rest of each doubtful row that wrong labels explain; empty where the server cannot say."""
    if not doubtful or context.mislabelled is None or context.root is None:
        return {}
    given = np.concatenate([context.root, context.mislabelled()])
    if len(given) * _ROOM > rows.size or not np.isfinite(given).all():
        return {}
    cone = Cone(rows, given)
    found = {}
    for index in doubtful:
        fit, more = fits[index], cone.nearest(index)
        if fit is not None and more is not None:
            found[index] = (more[0] - fit.forward) / fit.rest
    return found


def _judge(fit: _Fit, usual: float, weight: float, far: float, wrong: float) -> Finding:
    """One finding; ``usual`` and ``weight`` are the others' medians, ``wrong`` the rest's share of wrong labels."""
    strangeness = _strangeness(fit, usual)
    limit = usual * exp(far * _SPREAD)
    shown = limit if limit < 1 else None
    if strangeness > far:
        found = _held_against(fit, usual, wrong)
        if found is not None:
            distance, sentence = found
            score = Score("root_set", fit.rest, None, shown, sentence)
            # What a learned limit alone calls large counts as that, whatever explains it.
            distance = max(distance, strangeness) if strangeness > FAR else strangeness
            return Finding((score,), distance, strangeness=strangeness)
    if shown and fit.weight > _TOO_MUCH * weight:
        times = fit.weight / weight
        sentence = f"It is a mixture of the server's classes, and {times:.3g} times as much of it as others send."
        distance = FAR * log(times) / log(_TOO_MUCH)
        return Finding((Score("root_set", times, None, _TOO_MUCH, sentence),), distance, strangeness=strangeness)
    if strangeness > far:
        shown, why = None, f"more than the usual {usual:.0%}, but it points their way, as updates of few examples do"
    else:
        why = "nothing unusual" if shown else f"around {usual:.0%} is usual, too much to judge by"
    sentence = f"A mixture of the server's classes leaves {fit.rest:.0%} of it unexplained: {why}."
    return Finding((Score("root_set", fit.rest, None, shown, sentence),), strangeness=strangeness)


def _held_against(fit: _Fit, usual: float, wrong: float) -> tuple[float, str] | None:
    """How far out a large rest puts an update, and the sentence; None where few examples may be why it is large."""
    sentence = f"No mixture of the server's classes explains {fit.rest:.0%} of it{{}}; around {usual:.0%} is usual."
    if fit.forward < _NEXT_TO_NOTHING:
        return 2 * GRAVE, sentence.format("")
    if _backwards(fit):
        distance = GRAVE * (fit.backward - fit.forward) / _BACKWARDS
        return distance, sentence.format(f"; of its reverse they explain {fit.backward:.0%}")
    if wrong > _MISLABELLED:
        return 2 * GRAVE, sentence.format(f", and wrong labels explain {wrong:.0%} of that")
    return None


def _unjudged(why: str) -> Finding:
    return Finding((Score("root_set", 0.0, None, None, f"Not compared with a root set: {why}."),))
