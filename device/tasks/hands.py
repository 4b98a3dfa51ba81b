"""Handwriting altered as hands differ: turned, slanted, widened, with thicker or thinner strokes."""

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array

__all__ = ["other_hands"]

_TURN = np.deg2rad(12.0)
_SLANT = 0.2  # columns a row, more or less
_STRETCH = 0.15  # share of the width, more or less
_STROKE = 0.2  # of full ink, by which the level moves at which a grey picture is cut to black and white


def other_hands(pictures: npt.NDArray[np.uint8], seed: int) -> npt.NDArray[np.uint8]:
    """``(n, h, w)`` grey pictures, ink bright, as another hand might have written them; a function of both arguments.

    Turned by at most twelve degrees about the middle, slanted and stretched across, by linear interpolation; their ink
    is scaled so that a cut at half ink finds strokes that are thicker or thinner than before.
    """
    random = np.random.default_rng(seed)
    count, height, width = pictures.shape
    turn, slant, stretch, cut = (
        random.uniform(-most, most, (count, 1, 1)).astype(np.float32) for most in (_TURN, _SLANT, _STRETCH, _STROKE)
    )
    down = np.arange(height, dtype=np.float32)[None, :, None] - (height - 1) / 2
    across = np.arange(width, dtype=np.float32)[None, None, :] - (width - 1) / 2
    across = across * (1 + stretch) + down * slant
    sine, cosine = np.sin(turn), np.cos(turn)
    y = down * cosine - across * sine + np.float32((height - 1) / 2)
    x = down * sine + across * cosine + np.float32((width - 1) / 2)
    moved = _interpolated(pictures.astype(np.float32), y, x)
    result: npt.NDArray[np.uint8] = np.rint(np.minimum(moved * 0.5 / (0.5 + cut), 255)).astype(np.uint8)
    return result


def _interpolated(pictures: Float32Array, y: Float32Array, x: Float32Array) -> Float32Array:
    """``(n, h, w)`` at positions ``(n, h, w)`` in rows and columns, bilinear; nothing beyond the edges."""
    padded = np.pad(pictures, ((0, 0), (1, 1), (1, 1)))
    limits = [side - 1 for side in padded.shape[1:]]
    top, left = np.floor(y), np.floor(x)
    lower, right = y - top, x - left
    picture = np.arange(len(pictures))[:, None, None]
    result = np.zeros_like(y)
    for row, row_share in ((top, 1 - lower), (top + 1, lower)):
        for column, column_share in ((left, 1 - right), (left + 1, right)):
            at_y, at_x = ((p + 1).clip(0, last).astype(np.int64) for p, last in zip((row, column), limits, strict=True))
            result += row_share * column_share * padded[picture, at_y, at_x]
    return result
