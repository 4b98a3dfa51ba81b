"""Limits that are learned: how far out a comparison may lie at a chosen rate of false alarms (conformal prediction)."""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.errors import InputError
from skerry.security.anomaly.evidence import FAR

__all__ = ["LARGEST_RATE", "Calibration"]

LARGEST_RATE = 0.2
"""Above it a screen would drop so many honest updates that it is no screen."""

_KEPT = 5  # as many scores are kept as put five of them above the limit
_LEAST = 1.0  # robust standard deviation; nearer to the others nobody is called far, whatever was seen before


class Calibration:
    """For each detector the strangeness of past updates, and the limit that follows from it.

    With m past scores c and a new one s of one detector, ``p = (1 + #{c ≥ s}) / (m + 1)``; the update is flagged when
    p ≤ ``share``, that is ``rate`` over the number of detectors (a union bound).

    **Guarantee**: if an honest update's score and the m past ones are exchangeable, P(p ≤ share) ≤ share, whatever
    their distribution; so an honest update is flagged by any comparison of one round with probability at most
    ``rate``. That is *marginal*: over devices, rounds and the past scores together, per device and round. It is no
    promise for one device: one whose data are unlike everybody's is flagged more often, others less. Rounds do not
    add up to independent trials.

    **Exchangeability** is an assumption, and holds as far as: scores are relative to the round's other devices, so that
    the progress of training cancels; the past scores are of honest updates; and none is missing *because* it was
    high. The last is why dropped updates are learned from too: up to ``FAR`` at once, beyond it when their device is
    cleared (:class:`~skerry.security.anomaly.screening.Screener`). Rounds that follow each other are alike, so within
    one run the share of alarms strays further from the rate than that of independent draws.

    **Poisoning**. Let a share h of the past scores be hostile. If they are low, honest updates are flagged with
    probability at most rate / (1 - h): hostile devices that pose as exemplary cannot do more. If they are high, nobody
    below them is flagged once h > share: the comparison is then blind up to that height. Hostile devices reach ``FAR``
    in that way, not more: beyond it their updates are dropped, wait, and never count once they are in quarantine.

    **Until** there are 1/share - 1 scores no p can be small enough; up to then the fixed limit ``FAR`` = 5 robust
    standard deviations holds, about which this class promises nothing. Nothing nearer than one is ever flagged.

    Memory: the newest 5/share scores of each detector.

    Reference: Vovk, Gammerman and Shafer 2005, "Algorithmic Learning in a Random World"; Bates et al. 2023, "Testing
    for outliers with conformal p-values" (arXiv:2104.08279).

    Args:
        rate: false alarms per honest device and round, of all comparisons together.
        detectors: their names.

    Raises:
        InputError: the rate is out of range.

    >>> calibration = Calibration(0.1, ["norm"])
    >>> calibration.limit("norm")
    5.0
    >>> calibration.learn("norm", [float(score) for score in range(19)])
    >>> calibration.limit("norm")
    17.0
    """

    def __init__(self, rate: float, detectors: Sequence[str]) -> None:
        if not 0 < rate <= LARGEST_RATE:
            raise InputError(f"the rate of false alarms must lie in (0, {LARGEST_RATE:g}], got {rate:g}")
        self._share = rate / max(len(detectors), 1)
        self._kept = ceil(_KEPT / self._share)
        self._past: dict[str, npt.NDArray[np.float64]] = {name: np.empty(0) for name in detectors}

    def limit(self, detector: str) -> float:
        """Strangeness above which p ≤ share."""
        past = self._past[detector]
        above = floor(self._share * (len(past) + 1) + 1e-9) - 1  # how many may be at least as strange
        if above < 0:
            return FAR
        return max(float(np.partition(past, len(past) - 1 - above)[len(past) - 1 - above]), _LEAST)

    def learn(self, detector: str, scores: Sequence[float]) -> None:
        """Take scores of honest updates of earlier rounds, oldest first."""
        self._past[detector] = np.concatenate([self._past[detector], scores])[-self._kept :]

    def state(self) -> dict[str, str]:
        """The scores of each detector (base64 of little-endian float64)."""
        return {name: b64encode(past.astype("<f8").tobytes()).decode() for name, past in self._past.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`, bit for bit."""
        self._past = {name: np.frombuffer(b64decode(text), "<f8").astype(np.float64) for name, text in state.items()}
