"""Rounding a convolution's weights to int8, one step for each output channel, so that no kernel can saturate.

**No saturation.** The AVX2 and AVX-512 kernels that onnxruntime uses where the CPU has no VNNI instructions add pairs
of uint8 x int8 products in 16 bits (``vpmaddubsw``) and saturate without a word: measured here, cosine of features to
float fell from 0.987 to 0.825. So in every pair of neighbouring inputs of a channel the weights sum to at most 128 in
magnitude: 255 · 128 < 2¹⁵. Other kernels (VNNI, ARM, WebAssembly) then compute the same integers. Depthwise
convolutions have kernels of their own, which do not add in 16 bits.

**Error-compensated rounding.** One input after the other is rounded, and the inputs not yet rounded take up the error
as far as what the layer reads is correlated: OBQ's update in GPTQ's fixed order (Frantar et al., arXiv:2210.17323). The
limit on pairs is kept on the way, so that what it costs is taken up too.
"""

import numpy as np
import numpy.typing as npt
import torch

from skerry.device.compression.graph import Node
from skerry.device.compression.moments import Rows, from_rows
from skerry.records import Float32Array

__all__ = ["PAIR_LIMIT", "RoundedWeights", "round_compensated", "round_nearest"]

PAIR_LIMIT = 128
RoundedWeights = tuple[npt.NDArray[np.int8], Float32Array]
"""``values`` of the weight's shape, and ``(outputs,)`` steps."""

_LARGEST = 127
_DAMPING = 0.01  # of the mean variance, as GPTQ's
_BLOCK = 64


def round_nearest(node: Node, rows: Rows, input_step: float) -> RoundedWeights:
    """Each weight to the nearest multiple of its channel's step.

    Args:
        node: the convolution.
        rows: its weights, or others in their place.
        input_step: of the activation that it reads.
    """
    step = _steps(node, rows, input_step)
    return _as_weights(node, np.clip(np.rint(rows / step[:, :, None]), -_LARGEST, _LARGEST), step)


def round_compensated(node: Node, rows: Rows, input_step: float, covariance: Rows) -> RoundedWeights:
    """The same with each weight's rounding error taken up by the later weights of its channel.

    Args:
        node: the convolution.
        rows: its weights, or others in their place.
        input_step: of the activation that it reads.
        covariance: ``(groups, features, features)`` of what it reads.
    """
    step = _steps(node, rows, input_step)
    factor = _inverse_factor(covariance)
    features, paired = rows.shape[2], _paired(node)
    left = np.ascontiguousarray(rows.transpose(2, 0, 1))  # features first: each is one contiguous (groups, outputs)
    values = np.zeros_like(left)
    for begin in range(0, features, _BLOCK):
        end = min(features, begin + _BLOCK)
        errors = np.zeros((end - begin, *left.shape[1:]))
        for j in range(begin, end):
            room = np.full(step.shape, float(_LARGEST))
            low, high = -room, room
            if paired and j % 2:
                low, high = np.maximum(low, -PAIR_LIMIT - values[j - 1]), np.minimum(high, PAIR_LIMIT - values[j - 1])
            np.clip(np.rint(left[j] / step), low, high, out=values[j])
            errors[j - begin] = (left[j] - values[j] * step) / factor[:, j, j, None]
            left[j + 1 : end] -= factor[:, j, j + 1 : end].T[:, :, None] * errors[j - begin]
        if end < features:
            left[end:] -= _spread(factor[:, begin:end, end:], errors)
    return _as_weights(node, values.transpose(1, 2, 0), step)


def _spread(factor: Rows, errors: Rows) -> Rows:
    """What the errors of a block, ``(block, groups, outputs)``, ask of the features after it."""
    asked = torch.einsum("gbf,bgo->fgo", torch.from_numpy(np.ascontiguousarray(factor)), torch.from_numpy(errors))
    result: Rows = asked.numpy()
    return result


def _inverse_factor(covariance: Rows) -> Rows:
    """Upper triangular R with ``RᵀR`` the inverse of the damped covariance."""
    matrix = torch.from_numpy(covariance)
    identity = torch.eye(matrix.shape[1], dtype=torch.float64)
    variance = matrix.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    damped = matrix + (_DAMPING * variance + 1e-12) * identity
    # Turned round, the lower factor of Cholesky becomes an upper U with UUᵀ the matrix; its inverse is R.
    upper = torch.linalg.cholesky(damped.flip(1, 2)).flip(1, 2)
    result: Rows = torch.linalg.solve_triangular(upper, identity.expand_as(upper), upper=True).numpy()
    return result


def _steps(node: Node, rows: Rows, input_step: float) -> Rows:
    """``(groups, outputs/groups)``: the smallest float32 steps that hold every weight and pair.

    A pair that sums to at most 128 still does when both are rounded: two halves that round up are more than that.
    """
    assert node.bias is not None
    # A channel whose weights vanish is its bias alone: its step must still let the bias fit into 32 bits.
    for_bias = np.maximum(np.abs(node.bias), 1e-6).reshape(rows.shape[:2]) / (input_step * 2.0**28)
    step: Rows = np.maximum(np.abs(rows).max(2) / _LARGEST, for_bias)
    if _paired(node):
        step = np.maximum(step, np.abs(_pair_sums(rows)).max(2) / PAIR_LIMIT)
    up = np.nextafter(step.astype(np.float32), np.float32(np.inf))  # float32 must not make it smaller
    return up.astype(np.float64)


def _paired(node: Node) -> bool:
    """Whether kernels add neighbouring products in 16 bits."""
    assert node.weight is not None
    depthwise = node.groups > 1 and node.groups == len(node.weight)
    return not depthwise and node.weight[0].size > 1


def _pair_sums(rows: Rows) -> Rows:
    even = rows.shape[2] // 2 * 2
    sums: Rows = rows[:, :, 0:even:2] + rows[:, :, 1:even:2]
    return sums


def _as_weights(node: Node, rows: Rows, step: npt.NDArray[np.floating]) -> RoundedWeights:
    assert node.weight is not None
    return from_rows(rows, node.weight.shape).astype(np.int8), step.reshape(-1).astype(np.float32)
