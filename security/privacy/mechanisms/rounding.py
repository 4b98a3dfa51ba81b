"""Rounding to integers that keeps the mean, and a bound on the norm."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from skerry.security.privacy.stream import RandomStream

__all__ = ["RandomRounding"]

_TRIES = 16


@dataclass(frozen=True)
class RandomRounding:
    """Rounds each coordinate down or up at random, so that the mean is right, within an L2 norm of ``bound``.

    A vector shorter than a cell in every coordinate is not lost, as it is when rounding to the nearest. A row whose
    rounding is longer than the bound is drawn anew (the chance is below 1/8 for rows within :attr:`radius`), after 16
    times cut towards zero, which never lengthens it: the bound holds whatever the row (Kairouz, Liu, Steinke 2021, "The
    distributed discrete Gaussian mechanism for federated learning with secure aggregation", algorithm 1). Each row's
    result depends on that row and on random bits of its own.

    Attributes:
        bound: B, in cells.
        size: d, coordinates.
    """

    bound: int
    size: int

    @property
    def radius(self) -> float:
        """What rows should be clipped to, in cells: r with r² + d/4 + 4·(r + √d) ≤ B², at least half the bound."""
        root = math.sqrt(self.size)
        inside = self.bound**2 - self.size / 4 - 4 * root + 4
        return max(self.bound / 2, math.sqrt(max(inside, 0.0)) - 2)

    def __call__(
        self, rows: npt.NDArray[np.float64], stream: RandomStream
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Round.

        Args:
            rows: ``(n, d)`` in cells.
            stream: where the bits come from; secret, like the rows.

        Returns:
            ``(n, d)`` int64 of norm at most B, and ``(n,)`` which rows were usable; the others (not finite, or longer
            than B) are zeros.
        """
        out = np.zeros(rows.shape, np.int64)
        usable = np.zeros(len(rows), np.bool_)
        for i, row in enumerate(rows):
            with np.errstate(all="ignore"):
                short = bool(np.isfinite(row).all()) and float(np.abs(row).max(initial=0.0)) <= self.bound
            if not short:
                continue
            down = np.floor(row)
            share = row - down
            for _ in range(_TRIES):
                chance = (stream.uint64(self.size) >> np.uint64(11)).astype(np.float64) * 2.0**-53
                cells = down.astype(np.int64) + (chance < share)
                if self._fits(cells):
                    break
            else:
                cells = np.trunc(row).astype(np.int64)
                if not self._fits(cells):
                    continue
            out[i], usable[i] = cells, True
        return out, usable

    def _fits(self, cells: npt.NDArray[np.int64]) -> bool:
        """In integers: coordinates are at most B + 1, so no square overflows for d·B² below 2^62."""
        return int(cells @ cells) <= self.bound**2
