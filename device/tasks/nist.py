"""NIST's preparation of isolated characters, in numpy: what the UCI digits went through before anybody saw them.

Garris et al., "NIST Form-Based Handprint Recognition System", NISTIR 5469 (its second-generation normalisation), on
pictures with grey edges instead of scanned bitmaps:

1. *box*: the ink's bounding box is stretched to 20×32, whatever its proportions, and centred in 32×32;
2. *strokes*: too much ink is eroded and too little is dilated, by one pixel or two, with the four neighbours;
3. *shear*: rows are shifted so that the leftmost pixels near the top and near the bottom stand above each other.
"""

import numpy as np
import numpy.typing as npt

from skerry.device.tasks.pictures import resize_matrix

__all__ = ["SIZE", "normalised_bitmaps"]

SIZE = 32
"""Rows and columns of a prepared bitmap."""

Bitmap = npt.NDArray[np.bool_]

_WIDTH = 20
_FINER = 8  # a grey picture is cut at half ink on a grid this much finer, about that of a scan
_MUCH, _VERY_MUCH = 412, 560  # pixels of ink above which strokes are eroded once, twice (NIST's routine)
_LITTLE, _VERY_LITTLE = 256, 108  # and below which they are dilated
_EDGE = 2  # rows skipped at top and bottom before the shear is measured
_CHUNK = 250


def normalised_bitmaps(pictures: npt.NDArray[np.uint8]) -> Bitmap:
    """``(n, h, w)`` grey pictures, ink bright, each with some ink, to ``(n, 32, 32)`` bitmaps."""
    rows, columns = (resize_matrix(side, side * _FINER) for side in pictures.shape[1:])
    prepared = np.zeros((len(pictures), SIZE, SIZE), np.bool_)
    for first in range(0, len(pictures), _CHUNK):
        ink = pictures[first : first + _CHUNK].astype(np.float32)
        fine = rows @ ink @ columns.T
        cut = fine > np.minimum(127.5, fine.max((1, 2), keepdims=True) / 2)
        for i, bitmap in enumerate(cut):
            prepared[first + i] = _upright(_even_strokes(_stretched(bitmap)))
    return prepared


def _stretched(bitmap: Bitmap) -> Bitmap:
    """The box of the ink at full height and twenty wide, each pixel the one of the box that lies under its centre."""
    rows, columns = (np.flatnonzero(bitmap.any(axis)) for axis in (1, 0))
    height, width = (side[-1] - side[0] + 1 for side in (rows, columns))
    y = rows[0] + ((np.arange(SIZE) + 0.5) * height / SIZE).astype(np.int64)
    x = columns[0] + ((np.arange(_WIDTH) + 0.5) * width / _WIDTH).astype(np.int64)
    result = np.zeros((SIZE, SIZE), np.bool_)
    left = (SIZE - _WIDTH) // 2
    result[:, left : left + _WIDTH] = bitmap[y[:, None], x[None, :]]
    return result


def _even_strokes(bitmap: Bitmap) -> Bitmap:
    ink = int(bitmap.sum())
    for _ in range((ink > _MUCH) + (ink > _VERY_MUCH)):
        bitmap = bitmap & np.logical_and.reduce(_neighbours(bitmap))
    for _ in range((ink < _LITTLE) + (ink < _VERY_LITTLE)):
        bitmap = bitmap | np.logical_or.reduce(_neighbours(bitmap))
    return bitmap


def _neighbours(bitmap: Bitmap) -> list[Bitmap]:
    """The pixels above, below, left and right of each; empty beyond the edge."""
    around = np.pad(bitmap, 1)
    return [around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]]


def _upright(bitmap: Bitmap) -> Bitmap:
    rows = np.flatnonzero(bitmap.any(1))
    top, bottom = rows[0] + _EDGE, rows[-1] - _EDGE
    if bottom <= top or not (bitmap[top].any() and bitmap[bottom].any()):
        return bitmap
    slope = (int(bitmap[top].argmax()) - int(bitmap[bottom].argmax())) / (bottom - top)
    shifts = (np.arange(SIZE) - SIZE // 2) * slope
    source = np.arange(SIZE)[None, :] - np.trunc(shifts + np.copysign(0.5, shifts)).astype(np.int64)[:, None]
    moved: Bitmap = np.take_along_axis(bitmap, source.clip(0, SIZE - 1), axis=1) & (source >= 0) & (source < SIZE)
    return moved
