"""From pooled features to the rows that a head reads: half whitened, and cut to a length; fitted on public data.

Row = z · min(1, bound / ‖z‖), with z = (pooled - mean) · projection, and then the constant of the bias.

The product is a sum of integers: (pooled - mean) · scale is rounded to multiples of 2^-40, and the values are int8. So
in float64 the sum is exact, in whatever order a library adds it up, and a phone's row is this one bit for bit.

A head is linear: on a row twice as long as any it was trained on its scores are twice as large, and it is surer of an
example of another kind than of its own. Rows no longer than public ones are for nearly all examples what they were, and
bound the scores, and each example's gradient, for all others.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array

__all__ = ["Whitening", "fit_whitening"]

_KEPT = 0.95  # share of public rows that are not cut: chosen by writers in turn, docs/adr/0021
_LEVELS = 127
_CELLS = 2.0**40
"""Steps of one in which centred and scaled features are counted. Sums are exact where these, of all features together,
are below 2^53 / 127 / 2^40 = 64 in magnitude; of digits they are below 0.1."""


@dataclass(frozen=True, eq=False)
class Whitening:
    """A linear map to principal components, and the longest row.

    Attributes:
        mean: ``(f,)`` float32, subtracted from pooled features.
        values: ``(f, k)`` int8; with ``scale`` exactly the projection, at a quarter of its size.
        scale: ``(f,)`` float32.
        bound: L2 length that no row exceeds, its constant not counted; a float32.
    """

    mean: Float32Array
    values: npt.NDArray[np.int8]
    scale: Float32Array
    bound: float

    @property
    def components(self) -> int:
        """k: numbers in a row, its constant not counted."""
        return len(self.values[0])

    @cached_property
    def projection(self) -> Float32Array:
        """``(f, k)`` float32."""
        return self.values * self.scale[:, None]

    @cached_property
    def _exact(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """``(f, k)`` values, and ``(f,)`` how many cells one of each feature is."""
        return self.values.astype(np.float64), self.scale.astype(np.float64) * _CELLS

    @property
    def layer(self) -> tuple[Float32Array, Float32Array]:
        """The same map as a linear layer: weight ``(k, f)`` and bias ``(k,)``."""
        weight = np.ascontiguousarray(self.projection.T)
        return weight, (-(weight.astype(np.float64) @ self.mean.astype(np.float64))).astype(np.float32)

    def rows(self, pooled: Float32Array, constant: float) -> Float32Array:
        """``(n, f)`` pooled features to ``(n, k + 1)`` float32, the last column ``constant``.

        A row that is not longer than the bound is not touched. Each depends on its own features alone, to the last bit.
        """
        values, scale = self._exact
        rows = np.full((len(pooled), self.components + 1), constant, np.float32)
        for row, one in zip(rows, pooled.astype(np.float64), strict=True):
            with np.errstate(invalid="ignore", over="ignore"):  # of a crafted base: NaN, which training leaves out
                cells = np.floor((one - self.mean) * scale + 0.5)
                z = (cells @ values / _CELLS).astype(np.float32)
            squares = np.square(z, dtype=np.float64)
            length = math.sqrt(np.add.accumulate(squares)[-1])  # one after the other, as a phone adds them
            row[:-1] = z * np.float32(self.bound / length) if length > self.bound else z
        return rows


def fit_whitening(pooled: Float32Array, components: int) -> Whitening:
    """Half whitening of public features, and the length that all but one in twenty of their rows keep to.

    Each principal component of the standardised features is divided by the root of its deviation: *half* whitened.
    Under clipping and noise a gradient counts by direction, so components that hardly vary must not drown in noise, as
    without whitening, nor be blown up to the size of the others, as with all of it; half was better than either on
    every layer that was tried. Rows come out with length about 1.

    Args:
        pooled: ``(n, f)`` float32 features of public examples.
        components: the most that are kept; fewer where the features have fewer.
    """
    mean = pooled.mean(0, dtype=np.float64)
    deviation = pooled.std(0, dtype=np.float64) + 1e-3
    standard = (pooled - mean) / deviation
    eigenvalues, vectors = np.linalg.eigh(standard.T @ standard / len(standard))
    k = min(components, int((eigenvalues > 1e-6 * eigenvalues[-1]).sum()))
    eigenvalues, vectors = eigenvalues[::-1][:k], vectors[:, ::-1][:, :k]
    vectors *= np.sign(vectors[np.abs(vectors).argmax(0), np.arange(k)])  # the sign of an eigenvector is free: fix it
    projection = vectors / eigenvalues**0.25 / np.sqrt(np.sqrt(eigenvalues).sum()) / deviation[:, None]
    scale = (np.abs(projection).max(1) / _LEVELS + 1e-30).astype(np.float32)  # of a feature: they differ the most
    values = np.rint(projection / scale[:, None]).clip(-_LEVELS, _LEVELS).astype(np.int8)
    whole = Whitening(mean.astype(np.float32), values, scale, math.inf)
    lengths = np.linalg.norm(whole.rows(pooled, 0.0), axis=1)
    return replace(whole, bound=float(np.float32(np.quantile(lengths, _KEPT))))
