"""What a detector is told, and what it answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array, Reason, Score

__all__ = ["FAR", "GRAVE", "Detector", "Finding", "Mask", "Rows", "ScreenContext"]

Mask = npt.NDArray[np.bool_]

FAR = 5.0
"""Robust standard deviations from the others that flag, where no false-alarm rate is set or nothing is known yet."""

GRAVE = 6.0
"""Robust standard deviations that count towards quarantine at once. Nearer ones count where they are sustained."""

_BLOCK = 4096  # columns converted to float64 at a time


class Rows:
    """The updates of one round, and what all detectors need of them, computed once.

    Args:
        values: ``(n, d)`` float32, finite; not changed.

    Attributes:
        scales: ``(n,)``, at most 1: by what detectors so far clip each row before it enters the average.
    """

    def __init__(self, values: Float32Array) -> None:
        self.values = values
        self.scales = np.ones(len(values))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def size(self) -> int:
        """d, the length of a row."""
        return int(self.values.shape[1])

    @cached_property
    def gram(self) -> npt.NDArray[np.float64]:
        """``(n, n)`` inner products, multiplied and summed in float64."""
        total = np.zeros((len(self), len(self)))
        for start in range(0, self.size, _BLOCK):
            block = self.values[:, start : start + _BLOCK].astype(np.float64)
            total += block @ block.T
        return total

    @cached_property
    def lengths(self) -> npt.NDArray[np.float64]:
        """``(n,)`` L2 norms, summed in float64 (float32 sums of squares overflow at 10¹⁹)."""
        wide = (row.astype(np.float64) for row in self.values)
        return np.sqrt(np.fromiter((float(np.dot(row, row)) for row in wide), np.float64, len(self)))

    def clip(self, findings: Sequence["Finding"]) -> None:
        """Note what a detector's findings, one a row, leave of each row's length."""
        self.scales = np.minimum(self.scales, [finding.scale for finding in findings])


@dataclass(frozen=True)
class ScreenContext:
    """What is public about the honest updates of one round.

    Attributes:
        round: the round's number.
        noise_std: standard deviation per coordinate of the privacy noise inside an honest delta, in the delta's own
            unit (learning rate and denominator applied); 0 without noise. The delta must not be clipped after
            the noise is added.
        signal_bound: public bound on ‖delta‖ without the noise, L2, same unit; infinity when there is none.
        steps: noisy gradient steps inside one delta. ``noise_std`` is that of their sum.
        root: ``(k, d)`` what a device with examples of one class alone would send, without noise, for each of k classes
            of which the server has examples; None when it has none, or nobody asks.
        mislabelled: computes ``(k² - k, d)`` what a device would send whose examples of one class carry the label of
            another, for each pair; None when nobody can.
        start: ``(d,)`` the model that the round started from; None where it is not told.
        whole: whole networks are trained, whose layers all examples move. False where a head is, in which each class
            may have directions of its own: a device that is alone with a class goes where nobody else does.
    """

    round: int
    noise_std: float
    signal_bound: float
    steps: int = 1
    root: Float32Array | None = None
    mislabelled: Callable[[], Float32Array] | None = None
    start: Float32Array | None = None
    whole: bool = False


@dataclass(frozen=True)
class Finding:
    """One detector's answer about one update.

    Attributes:
        scores: the measured figures, each with a sentence for the operator.
        distance: 0 when the update is unremarkable among the others; else how far out it lies, in standard
            deviations or their robust equivalent. Orders suspects, nothing more.
        certain: the update breaches limits that follow from public constants alone.
        strangeness: how far out it lies among the others in the same unit, flagged or not; what a false-alarm rate is
            calibrated on. None where it was not compared.
        scale: below 1 when the update is too long for the others: the factor that makes it the longest that passes.
        clips: all that is to be done about it is to shorten it by ``scale``: no reason to drop the update.
        excusable: a reason to drop the update, and none to blame the device, however often.
    """

    scores: tuple[Score, ...]
    distance: float = 0.0
    certain: bool = False
    strangeness: float | None = None
    scale: float = 1.0
    clips: bool = False
    excusable: bool = False

    @property
    def flagged(self) -> bool:
        """True when the detector speaks against the update."""
        return self.certain or self.distance > 0

    @property
    def grave(self) -> bool:
        """True when it counts towards quarantine."""
        return self.certain or (self.distance >= GRAVE and not (self.clips or self.excusable))

    @property
    def learned(self) -> bool:
        """True when it rests on a learned limit that is nearer than the fixed one."""
        return 0 < self.distance < FAR and not self.certain


class Detector(Protocol):
    """Compares the updates of one round; may remember earlier rounds."""

    @property
    def name(self) -> str:
        """As a scenario writes it in ``defence.screen``."""

    @property
    def reason(self) -> Reason:
        """The code of a verdict that rests on this detector."""

    def examine(
        self, rows: Rows, devices: Sequence[str], trusted: Mask, context: ScreenContext, far: float = FAR
    ) -> list[Finding]:
        """One finding a row. Called once a round.

        Args:
            rows: n updates.
            devices: n names, sorted.
            trusted: ``(n,)`` rows that no earlier detector flagged; only these say what is usual.
            context: what is public about the round.
            far: strangeness above which a comparison flags.
        """

    def learn(self, rows: Float32Array, accepted: Mask, context: ScreenContext) -> None:
        """Remember what later rounds need.

        Args:
            rows: n updates, as they were sent.
            accepted: ``(n,)`` rows that no detector flagged: none of them is dropped or clipped.
            context: what is public about the round.
        """

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` needs, as JSON values."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
