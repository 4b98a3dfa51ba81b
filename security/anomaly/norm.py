"""The norm detector: updates that are larger than an honest one can be, or smaller than its noise allows."""

from collections.abc import Mapping, Sequence
from math import exp, inf, isfinite, log
from typing import Any, ClassVar

import numpy as np

from skerry.records import Float32Array, Reason, Score
from skerry.security.anomaly.bounds import largest_norm, smallest_norm
from skerry.security.anomaly.evidence import FAR, Finding, Mask, Rows, ScreenContext
from skerry.security.anomaly.peers import peers

__all__ = ["NORM_ERROR", "NormDetector"]

NORM_ERROR = 1e-9
"""Bound on the probability that an honest update fails the calibrated limits in one round."""

_FLOOR = log(1.25)  # least spread assumed between honest devices: ±25 %
_LARGEST_LOG = 700.0  # exp of more overflows; no float32 vector is so long
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
    log 1.25. With ``far`` = 5, devices whose honest norms differ by up to three times never fail it.

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
        return [_judge(float(v), low, high, around, far) for v, around in zip(lengths, usual, strict=True)]

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


def _judge(value: float, low: float | None, high: float, around: tuple[float, float] | None, far: float) -> Finding:
    strangeness, distance, typical, limit = None, 0.0, 0.0, inf
    if around is not None:
        centre, spread = around
        typical, limit = exp(centre), exp(min(centre + far * spread, _LARGEST_LOG))
        strangeness = (log(value) - centre) / spread if value > 0 else -_LARGEST_LOG
        distance = strangeness if strangeness > far else 0.0
    breach = value > high or (low is not None and value < low)
    if low is not None and value < low:
        sentence = (
            f"Norm {value:.3g} is below {low:.3g}, the least that the agreed privacy noise leaves: "
            "the noise was reduced or left out."
        )
    elif value > high:
        times = f"{value / high:.3g} times the" if high > 0 else "more than the"
        sentence = f"Norm {value:.3g} is {times} most that an honest update can reach, {high:.3g}."
    elif distance:
        sentence = (
            f"Norm {value:.3g} is {value / typical:.3g} times the other devices' median; "
            f"up to {limit / typical:.3g} times is usual among them."
        )
    else:
        sentence = f"Norm {value:.3g} is within what honest devices send."
    shown = min(high, limit)
    score = Score("norm", value, low or None, shown if isfinite(shown) else None, sentence)
    scale = limit / value if distance else 1.0
    return Finding((score,), distance, breach, strangeness, scale)
