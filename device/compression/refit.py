"""Weights that read rounded inputs: least squares towards the float layer's outputs, pulled towards the float weights.

What a layer of the int8 network reads carries the rounding of all layers before it. The weights that then come nearest
to the float layer's outputs are not the float weights: they lean less on directions in which the input is mostly
rounding. How far they may move (ridge) is chosen by two-fold cross-validation over the examples, "not at all"
included, so a layer with too few positions for its features keeps its weights.
"""

import numpy as np
import torch
from torch import Tensor

from skerry.device.compression.moments import Moments, Rows

__all__ = ["LARGEST_REFIT", "refit"]

LARGEST_REFIT = 256
"""Features beyond which no layer was found to gain, and the eigenvectors take long."""

_RIDGES = (1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0)
"""In units of the mean variance of a feature."""


def refit(rows: Rows, one: Moments, other: Moments) -> Rows:
    """The weights to round in place of the float ones.

    Args:
        rows: the float weights.
        one: moments of one half of the examples: rounded inputs, float outputs less their bias.
        other: those of the other half.
    """
    start = torch.from_numpy(np.ascontiguousarray(rows.transpose(0, 2, 1)))
    error = np.zeros(len(_RIDGES))
    unmoved = 0.0
    for fitted, judged in ((one, other), (other, one)):
        covariance, cross = _tensors(judged)
        unmoved += _error(start, covariance, cross)
        error += [_error(weights, covariance, cross) for weights in _solutions(start, fitted, _RIDGES)]
    best = int(np.argmin(error))
    if error[best] >= unmoved:
        return rows
    (found,) = _solutions(start, one + other, (_RIDGES[best],))
    result: Rows = np.ascontiguousarray(found.numpy().transpose(0, 2, 1))
    return result


def _solutions(start: Tensor, moments: Moments, ridges: tuple[float, ...]) -> list[Tensor]:
    """``(groups, features, outputs)`` weights for each ridge; one eigendecomposition serves them all."""
    covariance, cross = _tensors(moments)
    values, vectors = torch.linalg.eigh(covariance)
    missing = vectors.transpose(1, 2) @ (cross - covariance @ start)
    values = values.clamp_min(0.0)
    unit = values.mean(1, keepdim=True)
    return [start + vectors @ (missing / (values + ridge * unit + 1e-12)[:, :, None]) for ridge in ridges]


def _error(weights: Tensor, covariance: Tensor, cross: Tensor) -> float:
    """Variance of the outputs' error, up to a constant."""
    return float((weights * (covariance @ weights - 2 * cross)).sum())


def _tensors(moments: Moments) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(moments.covariance()), torch.from_numpy(moments.cross_covariance())
