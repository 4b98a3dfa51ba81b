"""What is released: Gaussian noise on a sum, how often, and how those who take part were drawn."""

import math
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from skerry.errors import InputError

__all__ = ["FixedSizeEvent", "GaussianEvent", "Relation", "merge"]

Relation = Literal["add/remove", "replace-one"]
"""Which data are neighbours: one unit more or less, or one unit exchanged for another."""


@dataclass(frozen=True)
class GaussianEvent:
    """``steps`` releases of a sum of L2 sensitivity Δ with Gaussian noise of standard deviation σ·Δ.

    Attributes:
        noise_multiplier: σ.
        sampling_rate: probability with which each unit takes part in a step, independently (Poisson). 1 is
            everybody. A cohort of fixed size, a shuffle or a check-in is *not* Poisson sampling: use 1.
        steps: number of releases.

    Raises:
        InputError: σ is not positive and finite, the rate not in [0, 1], steps negative, or one of another type.
    """

    noise_multiplier: float
    sampling_rate: float = 1.0
    steps: int = 1

    def __post_init__(self) -> None:
        numbers = self.noise_multiplier, self.sampling_rate
        if not all(isinstance(v, int | float) and type(v) is not bool for v in numbers) or type(self.steps) is not int:
            raise InputError(f"an event holds two numbers and whole steps, got {(*numbers, self.steps)!r:.80}")
        if not 0 < self.noise_multiplier <= sys.float_info.max:  # an integer may be longer than any float
            raise InputError(f"a noise multiplier must be positive and finite, got {self.noise_multiplier}")
        if not 0 <= self.sampling_rate <= 1:
            raise InputError(f"a sampling rate lies between 0 and 1, got {self.sampling_rate}")
        if self.steps < 0:
            raise InputError(f"a number of steps cannot be negative, got {self.steps}")


@dataclass(frozen=True)
class FixedSizeEvent:
    """``steps`` releases over a cohort of fixed size, drawn uniformly without replacement, secretly and anew each time.

    Neighbours differ by exchanging one unit for another (the population's size is public): the figure is under
    ``replace-one``, never to be added to figures under ``add/remove``.

    Attributes:
        noise_multiplier: σ, the noise's standard deviation over the L2 sensitivity *under exchange*. Vectors clipped to
            norm C differ by up to 2C: noise of standard deviation zC has σ = z/2.
        population: n, public.
        cohort: m, how many take part in a step.
        steps: number of releases.

    Raises:
        InputError: σ is not positive and finite, the cohort not within the population, or steps negative.
    """

    noise_multiplier: float
    population: int
    cohort: int
    steps: int = 1

    def __post_init__(self) -> None:
        if not (self.noise_multiplier > 0 and math.isfinite(self.noise_multiplier)):
            raise InputError(f"a noise multiplier must be positive and finite, got {self.noise_multiplier}")
        if not 0 <= self.cohort <= self.population or self.population < 1:
            raise InputError(f"a cohort of {self.cohort} cannot be drawn from {self.population}")
        if self.steps < 0:
            raise InputError(f"a number of steps cannot be negative, got {self.steps}")


def merge(events: Iterable[GaussianEvent]) -> list[GaussianEvent]:
    """The same spending with one event for each (σ, rate), in order of first appearance."""
    steps: Counter[tuple[float, float]] = Counter()
    for event in events:
        steps[event.noise_multiplier, event.sampling_rate] += event.steps
    return [GaussianEvent(sigma, rate, count) for (sigma, rate), count in steps.items()]
