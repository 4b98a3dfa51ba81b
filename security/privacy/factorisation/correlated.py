"""The releases: each round's sum with noise that is correlated over rounds."""

import math
from collections import deque
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from skerry.errors import InputError
from skerry.security.privacy.accounting import GaussianEvent
from skerry.security.privacy.factorisation.strategy import Strategy
from skerry.security.privacy.mechanisms import gaussian_noise
from skerry.security.privacy.stream import RandomStream

__all__ = ["CorrelatedSums"]

_MOST_UNITS = 2**20  # in one round: with it no sum leaves 63 bits
_ROOT = 2**32  # the sensitivity's square root is rounded up to a multiple of 1/_ROOT


class CorrelatedSums:
    """Sums of integer vectors, one a round, released with a strategy's noise; privacy of the whole run: :attr:`event`.

    Guarantee: if in every round each unit's vector has L2 norm at most ``bound``, and no unit takes part in two rounds
    less than the strategy's separation apart, all releases together are as private under adding or removing one unit as
    one Gaussian release of noise multiplier σ. Sums may depend on earlier releases. What is computed from private sums
    is C·x + z in integers, with z from the discrete Gaussian of a scale of at least σ·bound·√sensitivity2; everything
    in floating point comes after it. The sums of earlier rounds are kept in memory as long as the strategy reaches
    back: they are private.

    Args:
        strategy: which noise.
        bound: B, the largest norm of one unit's vector in one round.
        noise_multiplier: σ of the whole run.
        size: d.

    Raises:
        InputError: σ is not positive and finite, or so much noise has no sampler.
    """

    def __init__(self, strategy: Strategy, bound: int, noise_multiplier: float, size: int) -> None:
        if bound < 1 or bound * sum(strategy.coefficients) * _MOST_UNITS >= 2**62:
            raise InputError(f"sums of vectors of norm {bound} are too long for 64 bits", mend="use a coarser grid")
        self.strategy, self.event, self._size = strategy, GaussianEvent(noise_multiplier), size
        root = Fraction(math.isqrt(strategy.sensitivity2 * _ROOT**2 - 1) + 1, _ROOT)
        scale = Fraction(noise_multiplier) * bound * root
        self.noise = gaussian_noise(scale)
        reach = len(strategy.coefficients) - 1
        self._sums: deque[npt.NDArray[np.int64]] = deque(maxlen=reach)
        self._released: deque[npt.NDArray[np.float64]] = deque(maxlen=reach)
        self.round = 0
        """Rounds released so far."""

    def release(self, total: npt.NDArray[np.int64], stream: RandomStream) -> npt.NDArray[np.float64]:
        """The next round's sum with its noise, in cells, ``(d,)``; the order of calls is the order of rounds.

        Args:
            total: ``(d,)`` int64, the sum of at most 2^20 units' vectors; zeros when nobody took part.
            stream: secret.

        Raises:
            InputError: all rounds of the strategy are released, or the shape is another.
        """
        if self.round >= self.strategy.rounds:
            raise InputError(f"all {self.strategy.rounds} rounds of this strategy are released")
        if total.shape != (self._size,) or total.dtype != np.int64:
            raise InputError(f"expected {self._size} integers, got {total.dtype} of shape {total.shape}")
        first, *rest = self.strategy.coefficients
        noisy = first * total + self.noise.sample(self._size, stream)
        for coefficient, earlier in zip(rest, self._sums, strict=False):
            noisy += coefficient * earlier
        out = noisy.astype(np.float64)
        for coefficient, earlier_release in zip(rest, self._released, strict=False):
            out -= coefficient * earlier_release
        out /= first
        self._sums.appendleft(total.copy())
        self._released.appendleft(out)
        self.round += 1
        return out.copy()

    @property
    def reach(self) -> int:
        """How many rounds back the next release looks."""
        return len(self.strategy.coefficients) - 1

    @property
    def newest(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]] | None:
        """The last round's sum, which is private, and its release: what later rounds rest on. None if none does."""
        return (self._sums[0], self._released[0]) if self._sums else None

    def restore(self, rounds: int, newest: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]) -> None:
        """Go on after ``rounds`` rounds that another object released.

        Args:
            rounds: released so far.
            newest: what was :attr:`newest` after each of the last :attr:`reach` of them, the last one first.

        Raises:
            InputError: something was released here already, or they are not as many, or of another shape.
        """
        if self.round or not 0 <= rounds <= self.strategy.rounds or len(newest) != min(self.reach, rounds):
            raise InputError(f"no {rounds} rounds can be gone on after with {len(newest)} sums")
        for total, released in newest:
            if total.shape != (self._size,) or released.shape != (self._size,) or total.dtype != np.int64:
                raise InputError("the sums of earlier rounds were damaged")
            self._sums.append(total)
            self._released.append(released)
        self.round = rounds
