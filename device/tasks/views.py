"""Views of a picture: the same picture moved, turned and scaled a little, for *augmentation multiplicity*.

Which views an example has follows from its own bytes and from the number of the view, and from nothing else: not from
its place among the others, which changes when one of them is removed; not from a server, which could choose them.
So the mean of an example's gradients over its views still depends on that example alone.

Hoffer et al., "Augment your batch" (arXiv:1901.09335); under privacy De et al., "Unlocking high-accuracy differentially
private image classification through scale" (arXiv:2204.13650).
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from skerry.device.tasks.interpolation import bilinear
from skerry.records import Float32Array

__all__ = ["Moves", "Viewed", "own_numbers"]

_NUMBERS = 4  # of an example and a view: what SHA-256 has room for
_AT_ONCE = 8  # pictures: what is made of them on the way stays in cache


@runtime_checkable
class Viewed(Protocol):
    """What a task adds to :class:`~skerry.device.tasks.task.Task` when its examples have views."""

    def view(self, x: npt.NDArray[Any], number: int) -> Float32Array:
        """The ``number``-th view (from 1; 0 is the example itself) of raw examples, as ``transform`` gives them.

        ``(n, *input_shape)`` float32. Each row depends on its own example and on ``number`` alone, to the last bit.
        """
        ...


@dataclass(frozen=True)
class Moves:
    """How far a picture's views are from it, at most; each view's moves are drawn evenly from these ranges.

    Attributes:
        shift: share of the side, along both axes.
        turn: degrees, about the middle.
        scale: share by which it grows or shrinks.
    """

    shift: float
    turn: float
    scale: float

    def apply(self, planes: Float32Array, numbers: npt.NDArray[np.float64]) -> Float32Array:
        """``(n, c, h, w)`` moved by ``(n, 4)`` numbers in [-1, 1); what moves in repeats the border."""
        moved = np.empty_like(planes)
        for first in range(0, len(planes), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            moved[part] = self._moved(planes[part], numbers[part])
        return moved

    def _moved(self, planes: Float32Array, numbers: npt.NDArray[np.float64]) -> Float32Array:
        _, _, height, width = planes.shape
        down_by, across_by, turn, scale = (column.astype(np.float32)[:, None, None] for column in numbers.T)
        middle_y, middle_x = np.float32((height - 1) / 2), np.float32((width - 1) / 2)
        size = 1 + np.float32(self.scale) * scale
        angle = np.float32(np.deg2rad(self.turn)) * turn
        down = (np.arange(height, dtype=np.float32) - middle_y)[None, :, None] * size
        across = (np.arange(width, dtype=np.float32) - middle_x)[None, None, :] * size
        sine, cosine = np.sin(angle), np.cos(angle)
        y = down * cosine - across * sine + (middle_y + np.float32(self.shift * height) * down_by)
        x = down * sine + across * cosine + (middle_x + np.float32(self.shift * width) * across_by)
        return bilinear(planes, y.clip(0, height - 1), x.clip(0, width - 1))


def own_numbers(x: npt.NDArray[Any], number: int) -> npt.NDArray[np.float64]:
    """``(n, 4)`` in [-1, 1): each example's own for that view, from SHA-256 of its bytes and the view's number."""
    rows = np.ascontiguousarray(x)
    found = np.empty((len(rows), _NUMBERS))
    for row, example in zip(found, rows, strict=True):
        digest = hashlib.sha256(number.to_bytes(4, "little") + example.tobytes()).digest()
        row[:] = np.frombuffer(digest, "<u8") / 2.0**63 - 1
    return found
