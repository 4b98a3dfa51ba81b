"""Device-level privacy: whole updates are clipped, summed as integers, and get the coordinator's noise.

1. Each update is clipped to the public norm C and rounded at random to a grid on which C is B cells; its norm is
   checked in integers, so one device moves the sum by at most B, whatever it sent. Weights are uniform.
2. Noise: the discrete Gaussian, independent each round (DP-FedAvg; McMahan et al. 2018, "Learning differentially
   private recurrent language models") or correlated over rounds (DP-FTRL; see ``security/privacy/factorisation``).
3. The noisy sum is divided by a public constant. A round in which nobody took part releases noise all the same.

With a quantile, C follows the norms (Andrew et al. 2021, "Differentially private learning with adaptive clipping"): a
noisy count of the devices that were *not* clipped takes its own share of the round's privacy. Sum and count together
are one Gaussian release: 1/σ² = 1/σ_sum² + 1/σ_count² (theorem 1 there), with each device counted as +1 or -1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, save

from skerry.config import Scenario
from skerry.errors import InputError, ScenarioError
from skerry.records import Float32Array
from skerry.security.privacy.accounting import GaussianEvent
from skerry.security.privacy.factorisation import CorrelatedSums, banded, buffered
from skerry.security.privacy.mechanisms import (
    MAX_WIDE_SCALE,
    DiscreteGaussian,
    RandomRounding,
    gaussian_noise,
)
from skerry.security.privacy.stream import RandomStream

__all__ = ["CentralNoise", "Released", "run_event"]

_FINE = 64  # B = 64·√d: a coordinate of a clipped update spans many cells
_COARSE = 4  # B ≥ 4·√d, or rounding would weigh too much
_CLIP_RATE = 0.2  # how fast the clip follows (Andrew et al. 2021, section 3)


@dataclass(frozen=True)
class Released:
    """One round's noisy mean, and what may be told about it.

    Attributes:
        step: ``(d,)`` float32, the noisy sum over the public denominator.
        clip: the norm that updates were clipped to.
        unclipped: noisy estimate of the share that was not; None with a fixed clip.
    """

    step: Float32Array
    clip: float
    unclipped: float | None


def run_event(scenario: Scenario, noise_multiplier: float) -> GaussianEvent:
    """What the whole run spends of every device's privacy, drawn or not."""
    if scenario.privacy.mechanism == "matrix_factorization":
        return GaussianEvent(noise_multiplier)
    return GaussianEvent(noise_multiplier, scenario.cohort.rate or 1.0, scenario.rounds)


@dataclass
class CentralNoise:
    """Clipping, sum and noise of all rounds, in order.

    Guarantee: the releases of all rounds together are as private under adding or removing one device as
    :func:`run_event`, against whoever sees the releases and nothing else. It rests on cohorts drawn independently and
    in secret at ``cohort.rate`` (independent noise), or on no device taking part in two rounds less than
    ``privacy.min_separation`` apart (correlated noise), and on a secret stream.

    Attributes:
        scenario: privacy, cohort and rounds.
        noise_multiplier: σ of a round, or of the whole run where noise is correlated.
        size: d.

    Raises:
        ScenarioError: so much noise on so many coordinates has no sampler.
    """

    scenario: Scenario
    noise_multiplier: float
    size: int
    clip: float = field(init=False)
    """C of the next round."""

    def __post_init__(self) -> None:
        privacy = self.scenario.privacy
        self.clip = privacy.clip
        root = math.sqrt(self.size)
        count_share = privacy.clip_budget if privacy.clip_quantile is not None else 0.0
        # A little more noise than the shares say, so that rounding never leaves both together less than σ.
        more = self.noise_multiplier * (1 + 1e-12)
        self._sum_sigma = more / math.sqrt(1 - count_share) if count_share else self.noise_multiplier
        self._count_sigma = more / math.sqrt(count_share) if count_share else 0.0
        self._correlated: CorrelatedSums | None = None
        weight = self._sum_sigma
        if privacy.mechanism == "matrix_factorization":
            made = banded if privacy.factorization == "banded" else buffered
            strategy = made(self.scenario.rounds, privacy.min_separation)
            weight *= math.sqrt(strategy.sensitivity2)
        self.bound = min(math.ceil(_FINE * root), int(0.99 * MAX_WIDE_SCALE / weight))
        if self.bound < _COARSE * root:
            raise ScenarioError(
                f"noise of σ = {self.noise_multiplier:.3g} on {self.size} coordinates over {self.scenario.rounds}"
                " rounds is more than integer samplers reach",
                where="privacy.epsilon",
                mend="ask for a larger privacy.epsilon, fewer rounds, or train fewer parameters",
            )
        self._rounding = RandomRounding(self.bound, self.size)
        if privacy.mechanism == "matrix_factorization":
            self._correlated = CorrelatedSums(strategy, self.bound, self.noise_multiplier, self.size)
        else:
            self._noise = gaussian_noise(Fraction(self._sum_sigma) * self.bound)

    def debit(self, number: int) -> GaussianEvent:
        """What round ``number`` spends; the rounds add up to :func:`run_event`."""
        event = run_event(self.scenario, self.noise_multiplier)
        if self._correlated is not None:
            return event if number == 1 else replace(event, steps=0)
        return replace(event, steps=1)

    def release(self, deltas: Float32Array, stream: RandomStream, weights: Float32Array | None = None) -> Released:
        """The next round's noisy mean.

        Args:
            deltas: ``(n, d)`` float32, finite rows, one a device; n may be 0.
            stream: secret.
            weights: ``(n,)`` from 0 to 1, by what is public of a row; scales it once it is clipped. None for 1.

        Raises:
            InputError: a weight above 1 would let a device move the sum by more than its clip.
        """
        if weights is not None and not ((weights >= 0) & (weights <= 1)).all():
            raise InputError("weights under device-level privacy lie between 0 and 1")
        wide = deltas.astype(np.float64)
        norms = np.sqrt(np.einsum("ij,ij->i", wide, wide))
        cell = self.clip / self.bound
        with np.errstate(divide="ignore", invalid="ignore"):
            factors = np.minimum(1 / cell, self._rounding.radius / norms)
            wide *= (factors if weights is None else factors * weights)[:, None]
        cells, _ = self._rounding(wide, stream)
        total = cells.sum(axis=0, dtype=np.int64)
        if self._correlated is not None:
            noisy = self._correlated.release(total, stream)
        else:
            noisy = (total + self._noise.sample(self.size, stream)).astype(np.float64)
        denominator = self.scenario.privacy.denominator
        step = (noisy * (cell / denominator)).astype(np.float32)
        clip = self.clip
        return Released(step, clip, self._follow(norms <= clip, stream))

    @property
    def reach(self) -> int:
        """How many rounds back the noise of the next one looks; 0 where it is independent."""
        return 0 if self._correlated is None else self._correlated.reach

    def newest(self) -> bytes | None:
        """What later rounds' noise rests on of the last one, private as its sum is; None where it rests on nothing."""
        newest = None if self._correlated is None else self._correlated.newest
        return None if newest is None else save({"sum": newest[0], "released": newest[1]})

    def restore(self, rounds: int, newest: Sequence[bytes]) -> None:
        """Go on after rounds that another process released, with :meth:`newest` of the last ones, the last one first.

        Raises:
            InputError: these are others.
        """
        if self._correlated is not None:
            rows = [load(one) for one in newest]
            self._correlated.restore(rounds, [(row["sum"], row["released"]) for row in rows])

    def _follow(self, inside: npt.NDArray[np.bool_], stream: RandomStream) -> float | None:
        """Move the clip towards the quantile; returns the noisy share of devices that were not clipped."""
        quantile = self.scenario.privacy.clip_quantile
        if quantile is None:
            return None
        votes = int(np.where(inside, 1, -1).sum())
        noisy = votes + int(DiscreteGaussian(Fraction(self._count_sigma)).sample(1, stream)[0])
        share = 0.5 + noisy / (2 * self.scenario.privacy.denominator)
        self.clip *= math.exp(-_CLIP_RATE * (min(max(share, 0.0), 1.0) - quantile))
        return share
