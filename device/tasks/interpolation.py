"""Reading pictures between their pixels."""

import numpy as np

from skerry.records import Float32Array

__all__ = ["bilinear"]


def bilinear(planes: Float32Array, y: Float32Array, x: Float32Array) -> Float32Array:
    """``(n, c, h, w)`` at ``(n, h', w')`` positions in rows and columns, all channels alike; zero beyond the edges.

    Each picture on its own: no bit of it depends on the others.
    """
    _, _, height, width = planes.shape
    padded = np.pad(planes, ((0, 0), (0, 0), (1, 2), (1, 2)))
    count, channels, rows, columns = padded.shape
    pixels = padded.transpose(1, 0, 2, 3).reshape(channels, -1)
    y, x = y.clip(-1, height), x.clip(-1, width)
    top, left = np.floor(y), np.floor(x)
    lower, right = y - top, x - left
    first = (np.arange(count) * (rows * columns) + columns + 1)[:, None, None]
    corner = first + top.astype(np.int64) * columns + left.astype(np.int64)
    result = np.zeros((channels, *y.shape), np.float32)
    for down, row_share in ((0, 1 - lower), (columns, lower)):
        for across, column_share in ((0, 1 - right), (1, right)):
            result += (row_share * column_share) * pixels.take(corner + (down + across), axis=1)
    return np.ascontiguousarray(result.transpose(1, 0, 2, 3))
