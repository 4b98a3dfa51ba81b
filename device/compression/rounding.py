"""Rounding a layer's weights to few bits so that its *outputs* change least, not each weight.

With H the covariance of the layer's inputs (patches, of a convolution), the squared change of its outputs by weights
``s q`` in place of ``w`` is ``(s q - w) H (s q - w)``, each output channel for itself. The integers q and the scale s
are found by

1. aiming: inputs already differ, because earlier layers are rounded; w is moved to what gives the float outputs on the
   inputs that are really there, by ridge regression;
2. a first scale: the one with the least error, weight by weight, among shrunk ranges;
3. rounding one input at a time, the most active first, while those still open make up for the error (Frantar et al.,
   "GPTQ", arXiv:2210.17323, after Hassibi & Stork's optimal brain surgeon);
4. coordinate descent: scale and integers in turn take the best value for what the others are. Neither can make the
   error larger, but for the scale's rounding to float16.

A convolution in groups has one H for each group, a depthwise one thus one of kernel size for each channel.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from skerry.device.compression.graph import Node
from skerry.device.compression.packing import largest

__all__ = ["Moments", "Rounded", "input_moments", "round_compensated", "round_nearest"]

_ROWS = 16_384  # patches that H is estimated from
_CHUNK = 32  # examples unfolded at once
_DAMPING = 0.01  # share of the mean variance that is added to each one
_SHRINK = tuple(np.linspace(1.0, 0.3, 29))
_SWEEPS = 3
_BLOCK = 32
_LEAST = float(np.finfo(np.float16).smallest_subnormal)


@dataclass(frozen=True)
class Moments:
    """Of a layer's inputs, centred, for each group.

    Attributes:
        within: ``(groups, inputs, inputs)`` float64: covariance of the inputs that are there, damped.
        moved: ``(groups, inputs, inputs)`` float64: covariance of (float input − input that is there) with the latter.
    """

    within: Tensor
    moved: Tensor


@dataclass(frozen=True)
class Rounded:
    """``values`` of the weight's shape, int8, and ``scale`` for each output channel, float16."""

    values: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float16]


def input_moments(node: Node, exact: Tensor, reached: Tensor) -> Moments:
    """What rounding needs to know of a layer's inputs.

    Args:
        node: a convolution or linear layer.
        exact: its input in the float network, ``(n, ...)``.
        reached: the same where earlier layers are rounded.
    """
    rows, sums = 0, [torch.zeros(()) for _ in range(4)]
    for start in range(0, len(exact), _CHUNK):
        stop = min(start + _CHUNK, len(exact))
        a, b = (_patches(node, x[start:stop], -(-_ROWS // len(exact)), start) for x in (exact, reached))
        a = a - b
        added = (a.sum(1), b.sum(1), a.mT @ b, b.mT @ b)
        sums = [total + more for total, more in zip(sums, added, strict=True)]
        rows += b.shape[1]
    mean_moved, mean = sums[0] / rows, sums[1] / rows
    moved = sums[2] / rows - mean_moved[:, :, None] * mean[:, None, :]
    within = sums[3] / rows - mean[:, :, None] * mean[:, None, :]
    diagonal = within.diagonal(dim1=1, dim2=2)
    diagonal += _DAMPING * diagonal.mean(1, keepdim=True) + 1e-9
    return Moments(within, moved)


def round_nearest(node: Node, bits: int) -> Rounded:
    """Each weight to its nearest value, on the range of its channel."""
    assert node.weight is not None
    weight = torch.from_numpy(node.weight).double().flatten(1)
    scale = _float16(weight.abs().amax(1) / largest(bits))
    return _rounded(node, _nearest(weight / scale[:, None], bits), scale)


def round_compensated(node: Node, bits: int, moments: Moments) -> Rounded:
    """Weights of few bits whose outputs are nearest to the float network's.

    Args:
        node: a convolution or linear layer.
        bits: 2, 4, 6 or 8.
        moments: of its inputs.
    """
    assert node.weight is not None
    groups, h = len(moments.within), moments.within
    weight = torch.from_numpy(node.weight).double().reshape(groups, len(node.weight) // groups, -1)
    weight = weight + torch.linalg.solve(h, weight @ moments.moved, left=False)
    order = h.diagonal(dim1=1, dim2=2).argsort(1, descending=True)
    h = h.gather(1, order[:, :, None].expand_as(h)).gather(2, order[:, None, :].expand_as(h))
    weight = weight.gather(2, order[:, None, :].expand_as(weight))
    scale = _first_scale(weight, bits, h.diagonal(dim1=1, dim2=2)[:, None, :])
    values = _one_by_one(weight, scale, bits, h)
    for _ in range(_SWEEPS):
        scale = _best_scale(weight, values, scale, h)
        values = _descend(weight, values, scale, bits, h)
    back = order.argsort(1)[:, None, :].expand_as(values)
    return _rounded(node, values.gather(2, back), scale)


def _patches(node: Node, x: Tensor, each: int, offset: int) -> Tensor:
    """``(groups, rows, inputs)`` float64: what the layer's kernel sees, at some places of each example."""
    assert node.weight is not None
    if node.op == "linear":
        return x.double()[None]
    top, left, bottom, right = node.pads
    kernel = (node.weight.shape[2], node.weight.shape[3])
    unfolded = functional.unfold(functional.pad(x, (left, right, top, bottom)), kernel, stride=node.stride)
    places = unfolded.shape[2]
    if each < places:
        chosen = (torch.arange(each) * places // each + offset) % places
        unfolded = unfolded[:, :, chosen]
    n, inputs, places = unfolded.shape
    split = unfolded.reshape(n, node.groups, inputs // node.groups, places)
    return split.permute(1, 0, 3, 2).reshape(node.groups, n * places, -1).double()


def _nearest(x: Tensor, bits: int) -> Tensor:
    """The nearest value of that many bits."""
    if bits == 2:
        return (torch.floor(x / 2) * 2 + 1).clamp_(-3, 3)
    return torch.round(x).clamp_(-largest(bits), largest(bits))


def _float16(scale: Tensor) -> Tensor:
    """Scales that can be stored, never zero."""
    return scale.clamp(_LEAST, 65504).half().clamp_min(_LEAST).double()


def _first_scale(weight: Tensor, bits: int, importance: Tensor) -> Tensor:
    whole = weight.abs().amax(2) / largest(bits)
    best, least = whole, torch.full_like(whole, torch.inf)
    for shrink in _SHRINK:
        scale = _float16(whole * shrink)
        step = scale[..., None]
        error = ((_nearest(weight / step, bits) * step - weight).square() * importance).sum(2)
        best = torch.where(error < least, scale, best)
        least = torch.minimum(error, least)
    return best


def _one_by_one(weight: Tensor, scale: Tensor, bits: int, h: Tensor) -> Tensor:
    upper = torch.linalg.cholesky(torch.linalg.inv(h), upper=True)
    open_, values = weight.clone(), torch.empty_like(weight)
    for block in _blocks(weight):
        here, errors = open_[..., block], torch.empty_like(open_[..., block])
        for k, j in enumerate(range(block.start, block.stop)):
            values[..., j] = _nearest(here[..., k] / scale, bits)
            errors[..., k] = (here[..., k] - values[..., j] * scale) / upper[:, j, j, None]
            here[..., k:] -= errors[..., k, None] * upper[:, None, j, j : block.stop]
        open_[..., block.stop :] -= errors @ upper[:, block, block.stop :]
    return values


def _best_scale(weight: Tensor, values: Tensor, before: Tensor, h: Tensor) -> Tensor:
    seen = values @ h
    size = (seen * values).sum(2)
    found = (seen * weight).sum(2) / size.clamp_min(1e-30)
    return torch.where((size > 0) & (found > 0), _float16(found), before)


def _descend(weight: Tensor, values: Tensor, scale: Tensor, bits: int, h: Tensor) -> Tensor:
    slope = (values * scale[..., None] - weight) @ h
    for block in _blocks(weight):
        here, changes = slope[..., block].clone(), torch.empty_like(slope[..., block])
        for k, j in enumerate(range(block.start, block.stop)):
            best = _nearest(values[..., j] - here[..., k] / (h[:, j, j, None] * scale), bits)
            changes[..., k] = (best - values[..., j]) * scale
            here += changes[..., k, None] * h[:, None, j, block]
            values[..., j] = best
        slope += changes @ h[:, block]
    return values


def _blocks(weight: Tensor) -> list[slice]:
    """Inputs that are rounded before the others hear of it: the same result with far fewer passes over memory."""
    inputs = weight.shape[2]
    return [slice(start, min(start + _BLOCK, inputs)) for start in range(0, inputs, _BLOCK)]


def _rounded(node: Node, values: Tensor, scale: Tensor) -> Rounded:
    assert node.weight is not None
    return Rounded(values.reshape(node.weight.shape).to(torch.int8).numpy(), scale.flatten().numpy().astype(np.float16))
