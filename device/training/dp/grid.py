"""Private sums of per-example gradients, on an integer grid.

Gradients are clipped in floating point, rounded to a grid, and from there on everything is an integer: the check
that no example weighs more than the bound, the sum, the noise. Floating point may make a gradient a little wrong;
it cannot make it weigh more, and it cannot show through the noise.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.errors import InputError
from skerry.security.privacy.accounting import GaussianEvent
from skerry.security.privacy.mechanisms import MAX_WIDE_SCALE, DiscreteGaussian, WideGaussian, gaussian_noise
from skerry.security.privacy.stream import RandomStream

__all__ = ["Grid"]

_TARGET_SCALE = 2**14  # of the noise, in grid cells: a table of 1.5 MB each for high and low words
_LARGEST_BOUND = 2**20  # B; finer gains nothing, and d·B² has to stay within 63 bits
_SLACK = 8  # B ≥ 8·√d: rounding costs at most 1/16 of the clip
_BLOCK = 2**16  # numbers worked on at a time: in float32 they stay in the second cache
_COLUMNS = 2**14  # of them, at most: rounding errors of a sum grow with its length
_EXACT_SUM = 2**24 - 1  # float32 holds every whole number up to it
_EXACT_SQUARES = 2**53  # the same of float64
_LEAST_SLACK = 4  # B ≥ 4·√d and 1/8 of the clip, where 8·√d would need more noise than samplers reach


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
        InputError: so much noise on so many coordinates is more than samplers reach, or so little less; or the clip is
            too small for floating point (below about 10^-301).
    """

    clip: float
    noise_multiplier: float
    size: int

    def __post_init__(self) -> None:
        if not self.cell >= sys.float_info.min:  # here and not at the first gradient, where an error would tell of one
            raise InputError(f"a clip of {self.clip:g} is too small to be divided into cells")
        if self.size * self.bound**2 >= 2**62:
            raise InputError(f"gradients of {self.size} coordinates are too long for 64-bit sums")
        _ = self.noise

    @cached_property
    def bound(self) -> int:
        """B: the largest L2 norm of one example's vector, in cells. Public: it depends on σ and d only."""
        fine = min(_TARGET_SCALE / self.noise_multiplier, _LARGEST_BOUND)
        reached = int(min(MAX_WIDE_SCALE / self.noise_multiplier, 2**62))
        largest = max(reached, math.ceil(_LEAST_SLACK * math.sqrt(self.size)))
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
    def noise(self) -> DiscreteGaussian | WideGaussian:
        """The noise of one release, per coordinate."""
        return gaussian_noise(Fraction(self.noise_multiplier) * self.bound)

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
        if self.size * (self.bound + 1) ** 2 < _EXACT_SQUARES:
            # Of rows that pass all is exact in float64, in whatever order it is summed. What does not pass is too long
            # by a whole number at least, and rounding, which keeps order, cannot bring it back; NaN does not pass.
            fits = np.vecdot(rows, rows) <= self.bound**2
            if not fits.all():
                rows = rows[fits]
            sums = rows[0] if len(rows) == 1 else np.ones(len(rows)) @ rows
            np.add(total, sums, out=total, dtype=np.int64, casting="unsafe")  # whole: nothing is lost, nor copied
            return int(len(fits) - np.count_nonzero(fits))
        fits = np.maximum(rows.max(axis=1, initial=0), -rows.min(axis=1, initial=0)) <= self.bound  # NaN: False
        rows[~fits] = 0
        cells = rows.astype(np.int64)
        fits &= np.einsum("ij,ij->i", cells, cells) <= self.bound**2
        total += (cells if fits.all() else cells[fits]).sum(axis=0)
        return int(len(rows) - np.count_nonzero(fits))

    def add_clipped(
        self,
        norms: npt.NDArray[np.float64],
        pieces: Sequence[npt.NDArray[Any]],
        total: npt.NDArray[np.int64],
    ) -> int:
        """Clip gradients, round them and add those that pass the bound to ``total``, in place.

        Each gradient's integers depend on its own numbers and norm alone. Columns are worked on a few at a time, so
        that they are read once. Sums of squares in float32 decide where they pass with more than their rounding error
        to spare, else integers do.

        Args:
            norms: ``(m,)`` of the gradients; not finite: left out.
            pieces: ``(m, k)`` float, side by side; together d columns.
            total: ``(d,)`` int64.

        Returns:
            How many were left out: not finite, or longer than B. Private like the data: not for sending.
        """
        factors, usable = self.factors(norms), np.isfinite(norms)
        lengths = np.zeros(len(norms))
        kind = np.float64 if len(norms) * (self.bound + 1) > _EXACT_SUM else None
        for place, columns in self._columns(pieces):
            cells = self._cells(columns, factors)
            cells[~usable] = 0  # NaN times a factor is NaN
            squares = np.einsum("ij,ij->i", cells, cells)
            if not np.isfinite(squares).all():  # the norm did not tell
                squares[np.isnan(squares)] = np.inf
                np.nan_to_num(cells, copy=False)
            lengths += squares
            total[place] += cells.sum(axis=0, dtype=kind).astype(np.int64)
        fits = usable & (lengths * (1 + _COLUMNS * 2**-23) <= self.bound**2)  # n terms: at most about n·2^-24 too small
        for i in np.flatnonzero(usable & ~fits):
            one, factor = [piece[i : i + 1] for piece in pieces], factors[i : i + 1]
            rounded = [
                (place, np.nan_to_num(self._cells(columns, factor)[0]).astype(np.int64))
                for place, columns in self._columns(one)
            ]
            if np.isfinite(lengths[i]) and sum(int(cells @ cells) for _, cells in rounded) <= self.bound**2:
                fits[i] = True
                continue
            for place, cells in rounded:  # longer than the bound after all: taken out again
                total[place] -= cells
        return int(len(norms) - np.count_nonzero(fits))

    def _cells(self, columns: npt.NDArray[Any], factors: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        """Whole numbers, clipped, in the type of the columns; none beyond what a sum of them can hold exactly."""
        cells: npt.NDArray[Any] = columns * factors.astype(columns.dtype)[:, None]
        np.rint(cells, out=cells)
        np.clip(cells, -self.bound - 1, self.bound + 1, out=cells)
        return cells

    @staticmethod
    def _columns(pieces: Sequence[npt.NDArray[Any]]) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
        at = 0
        for piece in pieces:
            width = min(_COLUMNS, max(1, _BLOCK // len(piece)))
            for first in range(0, piece.shape[1], width):
                columns = piece[:, first : first + width]
                yield slice(at, at + columns.shape[1]), columns
                at += columns.shape[1]

    def release(self, total: npt.NDArray[np.int64], stream: RandomStream) -> npt.NDArray[np.float64]:
        """The sum with its noise, in gradient units, ``(d,)``: the only value here that may leave the device."""
        noisy = total + self.noise.sample(self.size, stream)
        return noisy.astype(np.float64) * self.cell
