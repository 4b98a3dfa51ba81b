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

    No limit lies above ``FAR`` = 5 robust standard deviations, the fixed one, whatever was learned. Until there are
    1/share - 1 scores no p can be small enough; up to then ``FAR`` holds. Nothing nearer than one is ever flagged.

    **Guarantee**: let an honest update's score and the m past ones of honest updates be exchangeable, a share q of
    honest scores lie beyond ``FAR``, and a share w of the past honest ones be missing. Then it is flagged by this
    detector with probability at most share + q + w, whatever the distribution; with q = w = 0 by any comparison of one
    round with probability at most ``rate``. That is *marginal*: over devices, rounds and the past scores together, per
    device and round. It is no promise for one device: one whose data are unlike everybody's is flagged more often,
    others less. Rounds do not add up to independent trials.

    **Not bounded** is q: where honest scores have heavy tails, those beyond ``FAR`` are the false alarms of the fixed
    limit, and ``rate`` says nothing about them. Nor is w, rows that were dropped beyond ``FAR`` and whose device is
    not cleared (:class:`~skerry.security.anomaly.screening.Screener`): all detectors' scores of them are missing.

    **Exchangeability** is an assumption, and holds as far as scores are relative to the round's other devices, so that
    the progress of training cancels. Rounds that follow each other are alike, so within one run the share of alarms
    strays further from the rate than that of independent draws.

    **Poisoning**. Let a share h of the past scores be hostile. If they are low, an honest update is flagged with
    probability at most share / (1 - h) + q + w: hostile devices that pose as exemplary cannot do more. If they
    are high, nobody below them is flagged once h > share: the comparison is then blind up to that height, or to ``FAR``
    if they are higher. A hostile device need not be constant for that: one that is dropped now and then is cleared
    in between.

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
    >>> calibration.learn("norm", [score / 10 for score in range(19)])
    >>> calibration.limit("norm")
    1.7
    """

    def __init__(self, rate: float, detectors: Sequence[str]) -> None:
        if not 0 < rate <= LARGEST_RATE:
            raise InputError(f"the rate of false alarms must lie in (0, {LARGEST_RATE:g}], got {rate:g}")
        self._share = rate / max(len(detectors), 1)
        self._kept = ceil(_KEPT / self._share)
        self._past: dict[str, npt.NDArray[np.float64]] = {name: np.empty(0) for name in detectors}

    def limit(self, detector: str) -> float:
        """Strangeness above which p ≤ share, or ``FAR`` if that is less."""
        past = self._past[detector]
        above = floor(self._share * (len(past) + 1) + 1e-9) - 1  # how many may be at least as strange
        if above < 0:
            return FAR
        learned = float(np.partition(past, len(past) - 1 - above)[len(past) - 1 - above])
        return min(max(learned, _LEAST), FAR)

    def learn(self, detector: str, scores: Sequence[float]) -> None:
        """Take scores of earlier rounds, oldest first."""
        self._past[detector] = np.concatenate([self._past[detector], scores])[-self._kept :]

    def state(self) -> dict[str, str]:
        """The scores of each detector (base64 of little-endian float64)."""
        return {name: b64encode(past.astype("<f8").tobytes()).decode() for name, past in self._past.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`, bit for bit."""
        self._past = {name: np.frombuffer(b64decode(text), "<f8").astype(np.float64) for name, text in state.items()}
