"""Second moments of what a convolution reads and should give: all that a least-squares question about it needs."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from skerry.device.compression.graph import Node

__all__ = ["Moments", "Rows", "from_rows", "measure_moments", "to_rows"]

Rows = npt.NDArray[np.float64]
"""``(groups, outputs/groups, features)``: a convolution's weights, features in the order in which kernels read them."""

_CHUNK = 16
_ENOUGH = 16_384
"""Positions on which a depthwise convolution's moments are measured; all of a large picture's would take long."""


@dataclass(frozen=True)
class Moments:
    """Sums over positions, to be added up.

    Attributes:
        count: positions.
        x: ``(groups, features)`` sum of the patches read.
        y: ``(groups, outputs/groups)`` sum of the outputs wanted.
        xx: ``(groups, features, features)`` of their products.
        xy: ``(groups, features, outputs/groups)`` of the products of both.
    """

    count: int
    x: Rows
    y: Rows
    xx: Rows
    xy: Rows

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.count + other.count, self.x + other.x, self.y + other.y, self.xx + other.xx, self.xy + other.xy
        )

    def about_zero(self) -> "Moments":
        """The same with means of zero: for a layer whose bias will not take up a mean error."""
        return replace(self, x=np.zeros_like(self.x), y=np.zeros_like(self.y))

    def covariance(self) -> Rows:
        """``(groups, features, features)`` of the patches: the mean is left to the bias."""
        mean = self.x / self.count
        result: Rows = self.xx / self.count - mean[:, :, None] * mean[:, None, :]
        return result

    def cross_covariance(self) -> Rows:
        """``(groups, features, outputs/groups)`` of patches and outputs."""
        result: Rows = self.xy / self.count - (self.x / self.count)[:, :, None] * (self.y / self.count)[:, None, :]
        return result


def to_rows(weight: npt.NDArray[np.floating], groups: int) -> Rows:
    """``(outputs, inputs/groups, height, width)`` as rows: position first, then input channel."""
    return weight.transpose(0, 2, 3, 1).reshape(groups, len(weight) // groups, -1).astype(np.float64)


def from_rows(rows: npt.NDArray[np.floating], shape: tuple[int, ...]) -> npt.NDArray[np.floating]:
    """Back to a weight of that shape."""
    outputs, inputs, height, width = shape
    return np.ascontiguousarray(rows.reshape(outputs, height, width, inputs).transpose(0, 3, 1, 2))


def measure_moments(node: Node, x: Tensor, y: Tensor) -> Moments:
    """The moments of a convolution.

    Args:
        node: the convolution.
        x: ``(n, channels, height, width)`` what it reads.
        y: ``(n, outputs, height, width)`` what it should give.
    """
    assert node.weight is not None
    if node.weight.shape[1] == 1 and node.groups > 1:  # a share of the examples is enough, spread over all
        needed = max(2 * _CHUNK, -(-_ENOUGH // (y.shape[2] * y.shape[3])))
        every = max(1, len(x) // needed)
        x, y = x[::every], y[::every]
    read = _patches(node)
    total = None
    for i in range(0, len(x), _CHUNK):
        found = _moments(read(x[i : i + _CHUNK]), y[i : i + _CHUNK], node.groups)
        total = found if total is None else total + found
    assert total is not None
    return total


def _moments(p: Tensor, y: Tensor, groups: int) -> Moments:
    """Of patches ``(groups, features, positions)``.

    Products are of what is left beside the mean, which is put back in float64: where pictures are mostly background a
    variance is small beside the mean's square, and float32 products of the whole leave noise of it, also below zero.
    """
    wanted = y.transpose(0, 1).reshape(groups, y.shape[1] // groups, -1)
    count, mean, level = p.shape[2], p.mean(2, keepdim=True), wanted.mean(2, keepdim=True)
    p, wanted = p - mean, wanted - level
    a, b = mean[:, :, 0].double(), level[:, :, 0].double()
    rest_x, rest_y = p.sum(2).double(), wanted.sum(2).double()
    sum_x, sum_y = rest_x + count * a, rest_y + count * b
    xx = sum_x[:, :, None] * a[:, None] + a[:, :, None] * rest_x[:, None] + torch.bmm(p, p.transpose(1, 2))
    xy = sum_x[:, :, None] * b[:, None] + a[:, :, None] * rest_y[:, None] + torch.bmm(p, wanted.transpose(1, 2))
    return Moments(count, *(part.numpy() for part in (sum_x, sum_y, xx, xy)))


def _patches(node: Node) -> Callable[[Tensor], Tensor]:
    """``(n, channels, height, width)`` to ``(groups, features, n · positions)``."""
    assert node.weight is not None
    _, per_group, height, width = node.weight.shape
    top, left, bottom, right = node.pads
    if (height, width, node.stride, node.groups) == (1, 1, (1, 1), 1) and not any(node.pads):
        return lambda x: x.transpose(0, 1).reshape(1, x.shape[1], -1)
    order = np.arange(per_group * height * width).reshape(per_group, height, width).transpose(1, 2, 0).reshape(-1)

    def read(x: Tensor) -> Tensor:
        padded = functional.pad(x, (left, right, top, bottom))
        unfolded = functional.unfold(padded, (height, width), stride=node.stride)
        split = unfolded.reshape(len(x), node.groups, len(order), -1)[:, :, order]
        return split.permute(1, 2, 0, 3).reshape(node.groups, len(order), -1)

    return read
