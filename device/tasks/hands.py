"""Handwriting altered as hands differ: turned, slanted, widened, with thicker or thinner strokes."""

import numpy as np
import numpy.typing as npt

from skerry.device.tasks.interpolation import bilinear

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
    moved = bilinear(pictures.astype(np.float32)[:, None], y, x)[:, 0]
    result: npt.NDArray[np.uint8] = np.rint(np.minimum(moved * 0.5 / (0.5 + cut), 255)).astype(np.uint8)
    return result
