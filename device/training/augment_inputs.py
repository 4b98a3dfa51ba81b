"""Small changes that keep an example's label, made anew each time a device sees it: ``training.augment``.

``shift``    moved by up to a sixteenth of its size; what moves in repeats the border. Pictures both ways, windows in
             time.
``motion``   windows of three-axis sensors (accelerometer, gyroscope, …): turned in space as if the sensor sat
             differently, stretched in time as if the person were slower or faster, scaled as if stronger or weaker.
             Um et al., "Data augmentation of wearable sensor data" (arXiv:1706.00527), found rotation the most useful.

Under privacy an example's changes are drawn independently of all data, so its gradient is still its own: the guarantee
holds for every outcome of these draws.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from skerry.device.training.per_example import Inputs
from skerry.errors import InputError
from skerry.records import Float32Array

__all__ = ["Augmentation", "AugmentedInputs"]

Augmentation = Literal["none", "shift", "motion"]

_TURN = np.deg2rad(40)  # standard deviation of the angle
_STRENGTH = 0.2  # standard deviation of a sensor's factor, and of the logarithm of the pace
_PACES = (0.6, 1.5)


@dataclass(frozen=True)
class AugmentedInputs:
    """Inputs that come out a little different each time.

    Attributes:
        inputs: the examples as they are.
        kind: what is done to them.
        generator: draws; it never sees the data.

    Raises:
        InputError: examples of that shape cannot be changed so, whether there are any or not.
    """

    inputs: Inputs
    kind: Augmentation
    generator: np.random.Generator

    def __post_init__(self) -> None:
        _ = self[:0]  # whether they fit is told now and not at the first example, where an error would tell of one

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: Any, /) -> Float32Array:
        x = self.inputs[index]
        return shifted(x, self.generator) if self.kind == "shift" else moved(x, self.generator)


def shifted(x: Float32Array, generator: np.random.Generator) -> Float32Array:
    """``(n, c, h, w)`` moved by up to a sixteenth of height and width (windows: along time only)."""
    for axis in (2, 3):
        size = x.shape[axis]
        if size == 1:
            continue
        most = max(1, size // 16)
        by = generator.integers(-most, most + 1, (len(x), 1))
        places = np.clip(np.arange(size) + by, 0, size - 1)
        x = np.take_along_axis(x, places[:, None, :, None] if axis == 2 else places[:, None, None, :], axis)
    return np.ascontiguousarray(x)


def moved(x: Float32Array, generator: np.random.Generator) -> Float32Array:
    """``(n, 3·s, 1, length)`` of s three-axis sensors on one body: turned alike, each scaled, stretched in time.

    Raises:
        InputError: the examples are not such windows.
    """
    n, channels, height, length = x.shape
    if height != 1 or channels % 3:
        raise InputError(
            f"examples of shape {x.shape[1:]} are not windows of three-axis sensors",
            where="training.augment",
            mend='set training.augment = "shift" or "none"',
        )
    turned = np.einsum("nij,nsjt->nsit", _rotations(n, generator), x.reshape(n, channels // 3, 3, length))
    turned *= 1 + _STRENGTH * generator.standard_normal((n, channels // 3, 1, 1))
    pace = np.clip(np.exp(_STRENGTH * generator.standard_normal((n, 1))), *_PACES)
    room = np.maximum(0, 1 - pace) * (length - 1)  # a part of the window, played slower, may be any part of it
    places = np.arange(length) * pace + room * generator.uniform(size=(n, 1))
    places = np.abs(places)
    over = np.maximum(0, places - (length - 1))
    places = np.clip(places - 2 * over, 0, length - 1)  # beyond its end a window runs backwards
    low = np.minimum(places.astype(np.int64), length - 2) if length > 1 else np.zeros((n, length), np.int64)
    part = (places - low)[:, None, :]
    flat = turned.reshape(n, channels, length)
    before, after = (np.take_along_axis(flat, at[:, None, :], 2) for at in (low, np.minimum(low + 1, length - 1)))
    result: Float32Array = (before + (after - before) * part).astype(np.float32)[:, :, None, :]
    return result


def _rotations(n: int, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """``(n, 3, 3)``: about random axes by normal angles (Rodrigues)."""
    axis = generator.standard_normal((n, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    angle = (_TURN * generator.standard_normal(n))[:, None, None]
    x, y, z = axis.T
    zero = np.zeros(n)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(n, 3, 3)
    turns: npt.NDArray[np.float64] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    return turns
