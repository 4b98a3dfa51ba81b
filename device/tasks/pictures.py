"""The input transform of picture tasks, in numpy: resize, one or three channels, normalise; each picture on its own."""

import functools

import numpy as np
import numpy.typing as npt

from skerry.config import ModelConfig
from skerry.device.models.architecture import ARCHITECTURES
from skerry.device.tasks.views import Moves, own_numbers
from skerry.records import Float32Array

__all__ = ["MOVES", "normalisation", "pixel_range", "resize_matrix", "to_network_input"]

MOVES = Moves(shift=1 / 16, turn=3.0, scale=0.03)
"""How far the views of a picture are from it at most."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]


@functools.lru_cache(maxsize=64)
def resize_matrix(source: int, target: int) -> Float32Array:
    """``(target, source)`` float32: bilinear interpolation along one axis, half-pixel centres, rows summing to one.

    When shrinking, the triangle is widened to the shrinking factor, so that no pixel is passed over (antialiasing).
    """
    factor = source / target
    width = max(1.0, factor)
    centres = (np.arange(target) + 0.5) * factor - 0.5
    distance = np.abs(np.arange(source)[None, :] - centres[:, None]) / width
    weights = np.maximum(0.0, 1.0 - distance)
    weights /= weights.sum(axis=1, keepdims=True)
    result: Float32Array = weights.astype(np.float32)
    result.setflags(write=False)
    return result


def normalisation(model: ModelConfig) -> tuple[float, float]:
    """``(mean, scale)`` of pixel values 0…255 that the architecture expects; about -1…1 where it declares none."""
    declared = ARCHITECTURES.get(model.architecture)
    return (declared.mean, declared.scale) if declared else (127.0, 128.0)


def pixel_range(mean: float, scale: float) -> tuple[float, float]:
    """Black and white after normalisation."""
    return (0.0 - mean) / scale, (255.0 - mean) / scale


def to_network_input(
    x: npt.NDArray[np.uint8],
    size: int,
    *,
    mean: float,
    scale: float,
    channels: int = 3,
    view: int = 0,
) -> Float32Array:
    """``(n, h, w, 1 or 3)`` uint8 to ``(n, channels, size, size)`` float32, normalised as ``(value - mean) / scale``.

    A grey picture fills three channels alike; three channels become one by the luma of ITU-R BT.601. Views from 1
    on are moved by :data:`MOVES`: at the network's size, where a fraction of a raw pixel can be told.
    """
    rows, columns = resize_matrix(x.shape[1], size), resize_matrix(x.shape[2], size)
    planes = x.astype(np.float32).transpose(0, 3, 1, 2)
    if channels == 1 and planes.shape[1] == 3:
        planes = (planes * _LUMA).sum(axis=1, keepdims=True)
    resized = np.asarray(rows @ planes @ columns.T, np.float32)
    if view:
        resized = MOVES.apply(resized, own_numbers(x, view))
    normalised = (resized - np.float32(mean)) / np.float32(scale)
    if normalised.shape[1] < channels:
        normalised = np.repeat(normalised, channels, axis=1)
    return np.ascontiguousarray(normalised, dtype=np.float32)
