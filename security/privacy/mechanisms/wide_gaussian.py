"""The discrete Gaussian of scales too large for a table, from two tables."""

from fractions import Fraction
from functools import cached_property

import numpy as np
import numpy.typing as npt

from skerry.errors import InputError
from skerry.security.privacy.mechanisms.discrete_gaussian import DiscreteGaussian, gaussian_table
from skerry.security.privacy.mechanisms.inversion import MAX_SCALE, Table
from skerry.security.privacy.stream import RandomStream

__all__ = ["MAX_WIDE_SCALE", "WideGaussian", "gaussian_noise"]

MAX_WIDE_SCALE = 2**27
"""Largest scale s of :class:`WideGaussian`."""

_FINE = Fraction(2**14)  # scale of the fine part
_STEP = 2**12  # width of a coarse step: a quarter of it
_LEAST = 2**16


class WideGaussian:
    """Integer noise with ``P(X = x) ∝ exp(-x² / 2s²)`` for s from 2^16 to 2^27: X = X₁ + m·X₂ from two tables.

    X₁ and X₂ are independent discrete Gaussians of variances v₁ = 2^28 and v₂ = (s² - v₁)/m², m = 2^12. Its price is
    that of :class:`~skerry.security.privacy.mechanisms.DiscreteGaussian` of the same scale, from which it is within
    :attr:`tv_bound` (< 2^-98) in total variation. Proof (as Micciancio and Walter, "Gaussian sampling over the
    integers", 2017, for this one lattice):

    1. Completing the square, ``P(X = x) ∝ Σ_y exp(-(x-my)²/2v₁ - y²/2v₂) = exp(-x²/2s²)·Σ_y exp(-(y-cx)²/2t)`` with
       1/t = m²/v₁ + 1/v₂ and some c.
    2. By Poisson summation the last sum is √(2πt)·(1 ± d) wherever its centre cx lies, with
       d = 2·Σ_{k≥1} exp(-2π²tk²) < 2.1·exp(-2π²t). Here m²/v₁ = 1/16 and 1/v₂ < 1/16, so t > 8 and d < 2^-200.
    3. So X is within d/(1-d) of the discrete Gaussian, and each part within its own table's bound.

    Args:
        scale: s, exact.

    Raises:
        InputError: the scale is out of range.
    """

    def __init__(self, scale: Fraction | int) -> None:
        self.scale = Fraction(scale)
        if not _LEAST <= self.scale <= MAX_WIDE_SCALE:
            raise InputError(
                f"the noise's scale is {float(self.scale):g}, outside {_LEAST} to {MAX_WIDE_SCALE}",
                mend="a larger ε, fewer rounds or fewer trained parameters need a smaller scale",
            )

    @cached_property
    def parts(self) -> tuple[Table, Table]:
        """The tables of X₁ and X₂."""
        return gaussian_table(_FINE**2), gaussian_table((self.scale**2 - _FINE**2) / _STEP**2)

    @property
    def tv_bound(self) -> Fraction:
        """Proven bound on the total variation distance, per sample, to the exact discrete Gaussian."""
        fine, coarse = self.parts
        return fine.tv_bound + coarse.tv_bound + Fraction(1, 2**199)

    def sample(self, n: int, stream: RandomStream) -> npt.NDArray[np.int64]:
        """``(n,)`` independent samples; the same stream state gives the same samples."""
        fine, coarse = self.parts
        return fine.sample(n, stream) + _STEP * coarse.sample(n, stream)


def gaussian_noise(scale: Fraction) -> DiscreteGaussian | WideGaussian:
    """Discrete Gaussian noise of this scale: from one table where one is large enough, else from two.

    Raises:
        InputError: the scale is out of range.
    """
    return DiscreteGaussian(scale) if scale <= MAX_SCALE else WideGaussian(scale)
