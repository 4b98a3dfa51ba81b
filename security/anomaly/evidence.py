"""What a detector is told, and what it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array, Reason, Score

__all__ = ["Detector", "Finding", "Mask", "ScreenContext"]

Mask = npt.NDArray[np.bool_]


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
    """

    round: int
    noise_std: float
    signal_bound: float
    steps: int = 1


@dataclass(frozen=True)
class Finding:
    """One detector's answer about one update.

    Attributes:
        scores: the measured figures, each with a sentence for the operator.
        distance: 0 when the update is unremarkable among the others; else how far out it lies, in standard
            deviations or their robust equivalent. Orders suspects, nothing more.
        certain: the update breaches limits that follow from public constants alone.
    """

    scores: tuple[Score, ...]
    distance: float = 0.0
    certain: bool = False

    @property
    def flagged(self) -> bool:
        """True when the detector speaks against the update."""
        return self.certain or self.distance > 0


class Detector(Protocol):
    """Compares the updates of one round; may remember earlier rounds."""

    @property
    def name(self) -> str:
        """As a scenario writes it in ``defence.screen``."""

    @property
    def reason(self) -> Reason:
        """The code of a verdict that rests on this detector."""

    def examine(
        self, rows: Float32Array, devices: Sequence[str], trusted: Mask, context: ScreenContext
    ) -> list[Finding]:
        """One finding a row. Called once a round.

        Args:
            rows: ``(n, d)`` float32, finite; not changed.
            devices: n names, sorted.
            trusted: ``(n,)`` rows that no earlier detector flagged; only these say what is usual.
            context: what is public about the round.
        """

    def learn(self, rows: Float32Array, accepted: Mask, context: ScreenContext) -> None:
        """Remember what later rounds need, from the rows that were accepted."""

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` needs, as JSON values."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
