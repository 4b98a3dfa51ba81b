"""Vectors of feature whitening, with numbers whose products and sums float32 holds exactly, in whatever order."""

import math
from typing import Any

import numpy as np

from skerry.device.whitening import Whitening

from ._numbers import dyadic, f32, f64, stream

__all__ = ["make"]


def make() -> dict[str, Any]:
    """The file's content."""
    return {
        "source": "device/whitening.py",
        "rows": [_rows("a", 16, 8, 0.5), _rows("b", 33, 5, 1.0), _rows("c", 8, 3, 100.0)],
    }


def _rows(label: str, size: int, components: int, bound: float) -> dict[str, Any]:
    mean, pooled = dyadic(f"{label} mean", size, bits=4), dyadic(f"{label} pooled", 6, size, bits=4)
    pooled[0] = mean  # a row of zeros
    values = (stream(f"{label} values")[1].uint64(size * components) % np.uint64(255)).astype(np.int64) - 127
    exponents = stream(f"{label} scale")[1].uint64(size) % np.uint64(3)
    scale = (2.0 ** -(7 + exponents.astype(np.float64))).astype(np.float32)
    whitening = Whitening(mean, values.reshape(size, components).astype(np.int8), scale, bound)
    exact = (pooled.astype(np.float64) - mean) @ whitening.projection.astype(np.float64)
    rows = whitening.rows(pooled, 1.0)
    lengths = np.array([math.hypot(*row) for row in exact.tolist()])
    assert np.array_equal(rows[lengths <= bound, :-1], exact[lengths <= bound])
    return {
        "mean": f32(mean),
        "values": values.tolist(),
        "scale": f32(scale),
        "bound": f64([bound]),
        "components": components,
        "pooled": [f32(row) for row in pooled],
        "constant": 1.0,
        "rows": [f32(row) for row in rows],
    }
