"""Private sums of per-example gradients, on an integer grid.

Gradients are clipped in floating point, rounded to a grid, and from there on everything is an integer: the check
that no example weighs more than the bound, the sum, the noise. Floating point may make a gradient a little wrong;
it cannot make it weigh more, and it cannot show through the noise.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import numpy.typing as npt

from skerry.errors import InputError
from skerry.security.privacy.accounting import GaussianEvent
from skerry.security.privacy.mechanisms import MAX_SCALE, DiscreteGaussian
from skerry.security.privacy.stream import RandomStream

__all__ = ["Grid"]

_TARGET_SCALE = 2**14  # of the noise, in grid cells: a table of 1.5 MB each for high and low words
_LARGEST_BOUND = 2**20  # B; finer gains nothing, and d·B² has to stay within 63 bits
_SLACK = 8  # B ≥ 8·√d: rounding costs at most 1/16 of the clip
_LEAST_SLACK = 4  # B ≥ 4·√d and 1/8 of the clip, where 8·√d would need a larger table than there is


@dataclass(frozen=True)
class Grid:
    """Clipping, rounding and noise for gradients of ``size`` coordinates.

    A gradient g becomes the integer vector z = round(g·B/C) after g was clipped to (B - √d/2)·C/B. Rounding moves it
    by at most √d/2 cells, so ‖z‖ ≤ B, up to floating point; :meth:`add` checks ‖z‖² ≤ B² in integers and leaves out
    what fails. Adding or removing one example therefore changes the integer sum by at most B in L2 norm, if each z
    depends on its example and on public values alone. Noise: discrete Gaussian of scale s = σ·B per coordinate, with
    σ taken as the exact binary fraction that it is. One :meth:`release` spends :attr:`event`.

    What rounding costs, at d = 2570 and σ = 3 (B = 5461): the clip shrinks by √d/2B = 0.5 %, and rounding errors add
    1/12 of a squared cell per example to the 2^28 of the noise. At millions of coordinates a cell is no longer small
    beside a coordinate, and a gradient much shorter than the clip is rounded away: choose a clip that most reach.

    Attributes:
        clip: C, in gradient units.
        noise_multiplier: σ.
        size: d.

    Raises:
        InputError: so much noise on so many coordinates needs too large a table.
    """

    clip: float
    noise_multiplier: float
    size: int

    def __post_init__(self) -> None:
        if self.size * self.bound**2 >= 2**62:
            raise InputError(f"gradients of {self.size} coordinates are too long for 64-bit sums")
        _ = self.noise

    @cached_property
    def bound(self) -> int:
        """B: the largest L2 norm of one example's vector, in cells. Public: it depends on σ and d only."""
        fine = min(_TARGET_SCALE / self.noise_multiplier, _LARGEST_BOUND)
        largest = max(int(MAX_SCALE / self.noise_multiplier), math.ceil(_LEAST_SLACK * math.sqrt(self.size)))
        return min(max(int(fine), math.ceil(_SLACK * math.sqrt(self.size))), largest)

    @property
    def cell(self) -> float:
        """C/B: the width of a cell in gradient units."""
        return self.clip / self.bound

    @property
    def radius(self) -> float:
        """B - √d/2: what gradients are clipped to, in cells."""
        return self.bound - math.sqrt(self.size) / 2

    @cached_property
    def noise(self) -> DiscreteGaussian:
        """The noise of one release, per coordinate."""
        return DiscreteGaussian(Fraction(self.noise_multiplier) * self.bound)

    @property
    def event(self) -> GaussianEvent:
        """What one :meth:`release` spends, per example under add/remove."""
        return GaussianEvent(self.noise_multiplier)

    def factors(self, norms: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """What to multiply gradients of these L2 norms by, ``(m,)``, so that they are clipped and in cells."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.minimum(1 / self.cell, self.radius / norms)

    def add(self, rows: npt.NDArray[np.float64], total: npt.NDArray[np.int64]) -> int:
        """Round clipped gradients and add those that pass the bound to ``total``, in place.

        Args:
            rows: ``(m, d)``, clipped and in cells; overwritten.
            total: ``(d,)`` int64.

        Returns:
            How many were left out: not finite, or longer than B. Private like the data: not for sending.
        """
        np.rint(rows, out=rows)
        fits = np.maximum(rows.max(axis=1, initial=0), -rows.min(axis=1, initial=0)) <= self.bound  # NaN: False
        rows[~fits] = 0
        cells = rows.astype(np.int64)
        fits &= np.einsum("ij,ij->i", cells, cells) <= self.bound**2
        total += (cells if fits.all() else cells[fits]).sum(axis=0)
        return int(len(rows) - np.count_nonzero(fits))

    def release(self, total: npt.NDArray[np.int64], stream: RandomStream) -> npt.NDArray[np.float64]:
        """The sum with its noise, in gradient units, ``(d,)``: the only value here that may leave the device."""
        noisy = total + self.noise.sample(self.size, stream)
        return noisy.astype(np.float64) * self.cell
