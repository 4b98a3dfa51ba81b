"""What cameras, lenses and hands do to pictures: ten corruptions in five severities, in numpy.

After Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations"
(arXiv:1903.12261), whose severities are used where they are shares; lengths are shares of the picture's side, so that a
28-pixel picture and a photograph are harmed alike. ``pose`` and ``occlusion`` are ours. The figures are not comparable
with ImageNet-C's, which is made once by other code.

Every function takes ``(n, h, w, c)`` float32 in 0…255, a severity 1…5 and a generator, and returns the same shape.
"""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array

__all__ = ["PICTURE_CORRUPTIONS", "corrupt_pictures"]

_FULL = 255.0


def corrupt_pictures(
    x: npt.NDArray[np.uint8], name: str, severity: int, generator: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """``(n, h, w, c)`` uint8 pictures, each corrupted on its own draw.

    Args:
        x: the pictures.
        name: a key of :data:`PICTURE_CORRUPTIONS`.
        severity: 1 to 5.
        generator: all randomness comes from it.
    """
    harmed = PICTURE_CORRUPTIONS[name](x.astype(np.float32), severity, generator)
    return np.rint(np.clip(harmed, 0, _FULL)).astype(np.uint8)


def _gaussian_noise(x: Float32Array, severity: int, generator: np.random.Generator) -> Float32Array:
    """Electronic noise."""
    deviation = _FULL * (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    return x + deviation * generator.standard_normal(x.shape, np.float32)


def _shot_noise(x: Float32Array, severity: int, generator: np.random.Generator) -> Float32Array:
    """Few photons: the brightest pixel counts so many."""
    photons = (60, 25, 12, 5, 3)[severity - 1]
    return (generator.poisson(x / _FULL * photons) * (_FULL / photons)).astype(np.float32)


def _impulse_noise(x: Float32Array, severity: int, generator: np.random.Generator) -> Float32Array:
    """Dead pixels and bit errors: black or white."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    hit = generator.random(x.shape[:3])[..., None] < share
    salt = generator.random(x.shape[:3])[..., None] < 0.5
    return np.where(hit, np.where(salt, _FULL, 0.0), x).astype(np.float32)


def _gaussian_blur(x: Float32Array, severity: int, generator: np.random.Generator) -> Float32Array:
    """Out of focus; on a picture of a few pixels, by 0.4 to 0.8 of one, since less would not be seen."""
    del generator
    share, least = ((0.01, 0.4), (0.02, 0.5), (0.03, 0.6), (0.045, 0.7), (0.06, 0.8))[severity - 1]
    rows, columns = (_gaussian_matrix(side, max(share * side, least)) for side in x.shape[1:3])
    blurred: Float32Array = np.einsum("yv,nvuc,xu->nyxc", rows, x, columns, optimize=True)
    return blurred


def _motion_blur(x: Float32Array, severity: int, generator: np.random.Generator) -> Float32Array:
    """The hand moves along a line while the shutter is open."""
    length = (0.06, 0.1, 0.15, 0.2, 0.28)[severity - 1] * x.shape[1]
    angle = generator.uniform(0, np.pi, len(x))
    steps = np.linspace(-length / 2, length / 2, 9)
    moved = [_moved(x, step * np.sin(angle), step * np.cos(angle), np.zeros(len(x))) for step in steps]
    blurred: Float32Array = np.mean(moved, axis=0, dtype=np.float32)
    return blurred


def _brightness(x: Float32Array, severity: int, generator: np.random.Generator) -> Float32Array:
    """Too much light, or too little, one as often as the other."""
    shift = np.float32(_FULL * (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1])
    return x + shift * generator.choice([-1, 1], (len(x), 1, 1, 1)).astype(np.float32)


def _contrast(x: Float32Array, severity: int, generator: np.random.Generator) -> Float32Array:
    """Fog: less difference from the picture's mean."""
    del generator
    kept = np.float32((0.6, 0.45, 0.3, 0.2, 0.1)[severity - 1])
    mean: Float32Array = x.mean(axis=(1, 2, 3), keepdims=True)
    return mean + kept * (x - mean)


def _jpeg(x: Float32Array, severity: int, generator: np.random.Generator) -> Float32Array:
    """JPEG's loss: 8×8 cosine transforms, divided by the standard table and rounded; channels alone."""
    del generator
    quality = (25, 18, 15, 10, 7)[severity - 1]
    table = np.clip(np.floor((_LUMINANCE * (5000 / quality) + 50) / 100), 1, 255)
    count, height, width, channels = x.shape
    padded = np.pad(x, ((0, 0), (0, -height % 8), (0, -width % 8), (0, 0)), mode="edge") - 128
    blocks = padded.reshape(count, padded.shape[1] // 8, 8, padded.shape[2] // 8, 8, channels)
    cosine = _cosine_matrix()
    spectrum = np.einsum("ky,ibyjxc,lx->ibkjlc", cosine, blocks, cosine, optimize=True)
    rounded = np.rint(spectrum / table[:, None, :, None]) * table[:, None, :, None]
    back = np.einsum("ky,ibkjlc,lx->ibyjxc", cosine, rounded, cosine, optimize=True).reshape(padded.shape)
    lossy: Float32Array = (back[:, :height, :width] + 128).astype(np.float32)
    return lossy


def _pose(x: Float32Array, severity: int, generator: np.random.Generator) -> Float32Array:
    """The device is held askew: turned and shifted."""
    degrees = (6, 12, 18, 25, 35)[severity - 1]
    shift = (0.02, 0.04, 0.06, 0.08, 0.1)[severity - 1] * x.shape[1]
    turn = np.deg2rad(degrees) * generator.choice([-1, 1], len(x))
    down, across = shift * generator.choice([-1, 1], (2, len(x)))
    return _moved(x, down, across, turn)


def _occlusion(x: Float32Array, severity: int, generator: np.random.Generator) -> Float32Array:
    """A finger in front of the lens: a grey square."""
    share = (0.05, 0.1, 0.15, 0.22, 0.3)[severity - 1]
    height, width = x.shape[1:3]
    tall, wide = (max(1, round(side * np.sqrt(share))) for side in (height, width))
    top = generator.integers(0, height - tall + 1, len(x))[:, None, None]
    left = generator.integers(0, width - wide + 1, len(x))[:, None, None]
    row, column = np.arange(height)[None, :, None], np.arange(width)[None, None, :]
    covered = (row >= top) & (row < top + tall) & (column >= left) & (column < left + wide)
    return np.where(covered[..., None], np.float32(128), x)


def _moved(x: Float32Array, down: npt.NDArray[Any], across: npt.NDArray[Any], turn: npt.NDArray[Any]) -> Float32Array:
    """Each picture turned about its centre (radians) and shifted (pixels), bilinear; edges are continued outwards."""
    count, height, width, _ = x.shape
    row, column = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    y, z = row - (height - 1) / 2 - down[:, None, None], column - (width - 1) / 2 - across[:, None, None]
    sine, cosine = np.sin(turn)[:, None, None], np.cos(turn)[:, None, None]
    source_y = np.clip(cosine * y - sine * z + (height - 1) / 2, 0, height - 1)
    source_x = np.clip(sine * y + cosine * z + (width - 1) / 2, 0, width - 1)
    top, left = np.floor(source_y).astype(int), np.floor(source_x).astype(int)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    lower = (source_y - top)[..., None].astype(np.float32)
    righter = (source_x - left)[..., None].astype(np.float32)
    each = np.arange(count)[:, None, None]
    above = x[each, top, left] * (1 - righter) + x[each, top, right] * righter
    below = x[each, bottom, left] * (1 - righter) + x[each, bottom, right] * righter
    moved: Float32Array = above * (1 - lower) + below * lower
    return moved


@functools.lru_cache(maxsize=32)
def _gaussian_matrix(side: int, deviation: float) -> Float32Array:
    """``(side, side)``: Gaussian weights along one axis, rows summing to one; edges are continued outwards."""
    reach = int(np.ceil(4 * deviation)) + 1
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    weights /= weights.sum()
    matrix = np.zeros((side, side), np.float32)
    for offset, weight in zip(range(-reach, reach + 1), weights, strict=True):
        matrix[np.arange(side), np.clip(np.arange(side) + offset, 0, side - 1)] += np.float32(weight)
    return matrix


@functools.cache
def _cosine_matrix() -> npt.NDArray[np.float64]:
    """The orthonormal DCT-II of length 8."""
    k, n = np.arange(8)[:, None], np.arange(8)[None, :]
    matrix: npt.NDArray[np.float64] = np.sqrt(2 / 8) * np.cos(np.pi * (2 * n + 1) * k / 16)
    matrix[0] /= np.sqrt(2)
    return matrix


# ITU-T T.81, Annex K, table K.1
_LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)

PICTURE_CORRUPTIONS: Mapping[str, Callable[[Float32Array, int, np.random.Generator], Float32Array]] = MappingProxyType(
    {
        "gaussian_noise": _gaussian_noise,
        "shot_noise": _shot_noise,
        "impulse_noise": _impulse_noise,
        "gaussian_blur": _gaussian_blur,
        "motion_blur": _motion_blur,
        "brightness": _brightness,
        "contrast": _contrast,
        "jpeg": _jpeg,
        "pose": _pose,
        "occlusion": _occlusion,
    }
)
"""By name."""
