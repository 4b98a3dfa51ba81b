"""A strategy matrix C: lower triangular, Toeplitz, of integers."""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from skerry.errors import InputError

__all__ = ["UNIT", "Strategy", "independent"]

UNIT = 2**12
"""First coefficient of an optimised strategy: the others are multiples of 1/UNIT of it."""


@dataclass(frozen=True)
class Strategy:
    """What is released is C·x + z, round by round, with x the rounds' sums and z independent noise of one scale.

    With A the matrix of running sums, A = (A·C⁻¹)·C: whoever has C·x + z computes x + C⁻¹z and the running sums
    A·x + (A·C⁻¹)·z (Denisov et al. 2022, "Improved differential privacy for SGD via optimal private linear operators on
    adaptive streams"; that the rounds' sums depend on earlier releases changes nothing, theorem 2.1 there).

    The coefficients are integers, so that C·x is a vector of integers and integer noise on it has an exact price: with
    noise of scale s on sums of integer vectors of norm at most B, one unit's privacy over the whole run is ρ-zCDP with
    ρ = B²·:attr:`sensitivity2`/(2s²).

    Attributes:
        kind: how it was found.
        coefficients: c₀ … c_{h-1}: column t of C has them from row t on.
        rounds: T.
        min_separation: b: a unit takes part in at most one of any b rounds that follow each other.

    Raises:
        InputError: no rounds or separation, c₀ not positive, more coefficients than rounds, or coefficients for which
            :attr:`sensitivity2` is not proved.
    """

    kind: Literal["independent", "banded", "buffered"]
    coefficients: tuple[int, ...]
    rounds: int
    min_separation: int

    def __post_init__(self) -> None:
        c = self.coefficients
        if self.rounds < 1 or self.min_separation < 1:
            raise InputError(f"a strategy needs rounds and a separation, got {self.rounds} and {self.min_separation}")
        if not c or c[0] <= 0 or len(c) > self.rounds:
            raise InputError("a strategy has between one and as many coefficients as rounds, the first one positive")
        falling = all(a >= b >= 0 for a, b in pairwise(c))
        if len(c) > self.min_separation and not falling:
            raise InputError(
                "no sensitivity is proved for a strategy that reaches over the separation and does not fall",
                mend="use at most min_separation coefficients, or ones that are at least 0 and never rise",
            )

    @property
    def participations(self) -> int:
        """k: in how many rounds one unit can take part."""
        return -(-self.rounds // self.min_separation)

    @cached_property
    def sensitivity2(self) -> int:
        """Squared L2 norm by which C·x can change when one unit, of norm at most 1 a round, is added or removed.

        It is ‖Σ_{i<k} C·e_{ib}‖²: of all patterns of rounds at least b apart, the one that starts first and is densest.
        With at most b coefficients, columns of one unit's rounds do not overlap, so the squares of their norms add up
        whatever the contributions, and earlier columns are cut off later. With coefficients that are at least 0 and
        never rise it is theorem 2 of Kalinin and Lampert 2024 ("Banded square root matrix factorization for
        differentially private model training"); contributions of different directions only lower it.
        """
        total = [0] * self.rounds
        for first in range(0, self.rounds, self.min_separation):
            for offset, value in enumerate(self.coefficients[: self.rounds - first]):
                total[first + offset] += value
        return sum(value * value for value in total)

    @cached_property
    def running_noise(self) -> npt.NDArray[np.float64]:
        """``(T,)``: standard deviation of the noise in the running sum after each round, for z of deviation 1."""
        response = self._inverse_running()
        return np.sqrt(np.cumsum(response**2))

    @cached_property
    def round_noise(self) -> npt.NDArray[np.float64]:
        """``(T,)``: the same for each round's own release."""
        return np.sqrt(np.cumsum(np.diff(self._inverse_running(), prepend=0.0) ** 2))

    @property
    def error(self) -> float:
        """Root mean square over rounds of the running sums' noise, at ρ = 1/2 for contributions of norm at most 1."""
        return math.sqrt(self.sensitivity2 * float(np.mean(self.running_noise**2)))

    @property
    def gain(self) -> float:
        """How many times the error of independent noise at equal ρ, without sampling on either side."""
        return independent(self.rounds, self.min_separation).error / self.error

    def _inverse_running(self) -> npt.NDArray[np.float64]:
        """First column of A·C⁻¹: β with C·β = (1, …, 1)."""
        c = np.array(self.coefficients, dtype=np.float64)
        beta = np.zeros(self.rounds)
        for t in range(self.rounds):
            reach = min(t, len(c) - 1)
            taken = float(c[1 : reach + 1] @ beta[t - reach : t][::-1]) if reach else 0.0
            beta[t] = (1.0 - taken) / c[0]
        return beta


def independent(rounds: int, min_separation: int) -> Strategy:
    """Independent noise in every round: C = 1."""
    return Strategy("independent", (1,), rounds, min_separation)
