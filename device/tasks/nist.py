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

Bitmaps = npt.NDArray[np.bool_]

_WIDTH = 20
_FINER = 8  # a grey picture is cut at half ink on a grid this much finer, about that of a scan
_MUCH, _VERY_MUCH = 412, 560  # pixels of ink above which strokes are eroded once, twice (NIST's routine)
_LITTLE, _VERY_LITTLE = 256, 108  # and below which they are dilated
_EDGE = 2  # rows skipped at top and bottom before the shear is measured
_CHUNK = 250


def normalised_bitmaps(pictures: npt.NDArray[np.uint8]) -> Bitmaps:
    """``(n, h, w)`` grey pictures, ink bright, each with some ink, to ``(n, 32, 32)`` bitmaps."""
    rows, columns = (resize_matrix(side, side * _FINER) for side in pictures.shape[1:])
    prepared = np.zeros((len(pictures), SIZE, SIZE), np.bool_)
    for first in range(0, len(pictures), _CHUNK):
        chunk = slice(first, first + _CHUNK)
        fine = rows @ pictures[chunk].astype(np.float32) @ columns.T
        cut = fine > np.minimum(127.5, fine.max((1, 2), keepdims=True) / 2)
        prepared[chunk] = _upright(_even_strokes(_stretched(cut)))
    return prepared


def _stretched(bitmaps: Bitmaps) -> Bitmaps:
    """The box of the ink at full height and twenty wide, each pixel the one of the box that lies under its centre."""
    y, x = (_under(np.logical_or.reduce(bitmaps, axis=a), n) for a, n in ((2, SIZE), (1, _WIDTH)))
    result = np.zeros((len(bitmaps), SIZE, SIZE), np.bool_)
    left = (SIZE - _WIDTH) // 2
    picture = np.arange(len(bitmaps))[:, None, None]
    result[:, :, left : left + _WIDTH] = bitmaps[picture, y[:, :, None], x[:, None, :]]
    return result


def _under(inked: Bitmaps, count: int) -> npt.NDArray[np.int64]:
    """``(n, count)`` places, evenly from the first to the last that is inked in ``(n, length)``."""
    first, last = _ends(inked)
    places: npt.NDArray[np.int64] = first + ((np.arange(count) + 0.5) * (last - first + 1) / count).astype(np.int64)
    return places


def _ends(inked: Bitmaps) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """``(n, 1)`` first and last place that is inked in ``(n, length)``."""
    return inked.argmax(1)[:, None], inked.shape[1] - 1 - inked[:, ::-1].argmax(1)[:, None]


def _even_strokes(bitmaps: Bitmaps) -> Bitmaps:
    ink = bitmaps.sum((1, 2))
    result = bitmaps.copy()
    for limit in (_MUCH, _VERY_MUCH):
        chosen = ink > limit
        result[chosen] &= np.logical_and.reduce(_neighbours(result[chosen]))
    for limit in (_LITTLE, _VERY_LITTLE):
        chosen = ink < limit
        result[chosen] |= np.logical_or.reduce(_neighbours(result[chosen]))
    return result


def _neighbours(bitmaps: Bitmaps) -> list[Bitmaps]:
    """The pixels above, below, left and right of each; empty beyond the edge."""
    around = np.pad(bitmaps, ((0, 0), (1, 1), (1, 1)))
    return [around[:, :-2, 1:-1], around[:, 2:, 1:-1], around[:, 1:-1, :-2], around[:, 1:-1, 2:]]


def _upright(bitmaps: Bitmaps) -> Bitmaps:
    """Rows shifted by the slope between the leftmost pixels near top and bottom; left alone where there are none."""
    first, last = _ends(np.logical_or.reduce(bitmaps, axis=2))
    top, bottom = first + _EDGE, last - _EDGE
    near_top, near_bottom = (
        np.take_along_axis(bitmaps, row.clip(0, SIZE - 1)[:, :, None], axis=1)[:, 0] for row in (top, bottom)
    )
    height = (bottom - top)[:, 0]
    measured = (height > 0) & near_top.any(1) & near_bottom.any(1)
    slope = np.where(measured, (near_top.argmax(1) - near_bottom.argmax(1)) / np.maximum(height, 1), 0.0)
    shifts = (np.arange(SIZE) - SIZE // 2) * slope[:, None]
    steps = np.trunc(shifts + np.copysign(0.5, shifts)).astype(np.int64)
    source = np.arange(SIZE) - steps[:, :, None]
    moved = np.take_along_axis(bitmaps, source.clip(0, SIZE - 1), axis=2)
    moved &= (source >= 0) & (source < SIZE)
    return moved
