"""The root-set detector: updates that no mixture of classes explains, where the server has examples of its own."""

from collections.abc import Mapping, Sequence
from math import exp, log, nan
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array, Reason, Score
from skerry.security.anomaly.bounds import largest_norm
from skerry.security.anomaly.evidence import FAR, Finding, Mask, Rows, ScreenContext
from skerry.security.anomaly.peers import median, median_without

__all__ = ["ROOT_ERROR", "RootSetDetector"]

Float64Array = npt.NDArray[np.float64]

ROOT_ERROR = 1e-9
"""Bound on the probability that noise alone is called unexplained."""

_SPREAD = log(5) / FAR  # of the logarithm: by default five times the usual unexplained share is flagged
_LEAST = 0.09  # what a smaller share counts as: below five times as much, 45 %, nothing is called much
_FEWEST = 4
_RIDGE = 1e-9  # of the mean diagonal, so that classes with one direction can be told apart
_BLOCK = 4096
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
    0.09 counting as 0.09. Strangeness is the logarithm of the ratio in units of log(5)/5. The spread of the others is
    not measured: hostile rows would widen it.

    **It says less where the root set fits less, and then nothing**: once a fifth of the usual update is unexplained,
    five times that is all of it, and nobody can be flagged. Public examples of another look, labels of another meaning,
    classes that are missing and a model that was fitted to the root set before lead there; its own kind leaves 5 to
    25 % in the lab. In the shipped digits scenario without privacy the classes explain 4 to 7 % of an honest update.

    **Assumption**: no device is the only one of its kind, and each update averages over many examples. Where the root
    set describes most devices, one whose examples look like nobody's or are few, or that has a class which the root set
    lacks, can look hostile.

    Cannot see: anything in the cone, such as honest training on some classes alone, or the gradient of a wrong label
    that looks like the right one's; backdoors that change little; and under noise whatever is shorter than it.

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
        shares = _unexplained(rows, root, context.noise_std)
        found = np.isfinite(shares)
        usable &= found
        if int(usable.sum()) < _FEWEST:
            return [_unjudged(f"{int(usable.sum())} usable updates are too few to say what is usual")] * len(rows)
        shares = np.where(found, shares, 0.0)
        usual = _others(np.log(np.maximum(shares, _LEAST)), usable)
        above = np.log(np.maximum(shares, _LEAST)) - usual
        limits = np.exp(usual + far * _SPREAD)
        return [
            _judge(float(share), float(one) / _SPREAD, exp(centre), float(limit), far)
            if solved
            else _unjudged(_UNSOLVED)
            for share, one, centre, limit, solved in zip(shares, above, usual, limits, found, strict=True)
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


def _unexplained(rows: Rows, root: Float32Array, noise: float) -> Float64Array:
    """``(n,)`` squared distances to the cone of the root's rows, less the noise, over squared lengths.

    NaN where the nearest point of the cone was not found.
    """
    k = len(root)
    with_root, among = np.zeros((len(rows), k)), np.zeros((k, k))
    for start in range(0, rows.size, _BLOCK):
        part = root[:, start : start + _BLOCK].astype(np.float64)
        with_root += rows.values[:, start : start + _BLOCK].astype(np.float64) @ part.T
        among += part @ part.T
    corner = np.linalg.cholesky(among + _RIDGE * np.trace(among) / k * np.eye(k))
    targets = np.linalg.solve(corner, with_root.T).T
    squares = rows.lengths**2
    explained = np.array([float(target @ target) - _distance(corner.T, target) ** 2 for target in targets])
    hidden = (noise * largest_norm(rows.size, 0.0, ROOT_ERROR)) ** 2
    rest = np.maximum(squares - explained - hidden, 0.0)
    shares: Float64Array = np.divide(rest, squares, out=np.zeros(len(rows)), where=squares > 0)
    return shares


def _distance(sides: Float64Array, target: Float64Array) -> float:
    """How far the target lies from the cone of the columns of ``sides``; NaN when the solver gives up."""
    from scipy.optimize import nnls

    try:
        return float(nnls(sides, target)[1])
    except RuntimeError:  # after 3 k steps, which rounding can take it to
        return nan


def _judge(share: float, strangeness: float, usual: float, limit: float, far: float) -> Finding:
    shown = limit if limit < 1 else None
    if strangeness > far:
        sentence = f"No mixture of the server's classes explains {share:.0%} of it; around {usual:.0%} is usual."
        return Finding((Score("root_set", share, None, shown, sentence),), strangeness, strangeness=strangeness)
    why = "nothing unusual" if shown else f"around {usual:.0%} is usual, too much to judge by"
    sentence = f"A mixture of the server's classes leaves {share:.0%} of it unexplained: {why}."
    return Finding((Score("root_set", share, None, shown, sentence),), strangeness=strangeness)


def _unjudged(why: str) -> Finding:
    return Finding((Score("root_set", 0.0, None, None, f"Not compared with a root set: {why}."),))
