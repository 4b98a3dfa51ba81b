"""Vectors of feature whitening, of numbers whose exact rows are known and of others; of features on their grid."""

import math
from typing import Any

import numpy as np

from skerry.device.pooled import on_grid
from skerry.device.whitening import Whitening
from skerry.records import Float32Array

from ._numbers import dyadic, f32, f64, stream

__all__ = ["make"]


def make() -> dict[str, Any]:
    """The file's content."""
    return {
        "source": "device/whitening.py",
        "rows": [_rows("a", 16, 8, 0.5), _rows("b", 33, 5, 1.0), _rows("c", 8, 3, 100.0), _uneven("d", 40, 12)],
        "grid": [_grid("e", 0.05536121129989624), _grid("f", 1 / 3), _grid("g", 0.0)],
    }


def _rows(label: str, size: int, components: int, bound: float) -> dict[str, Any]:
    mean, pooled = dyadic(f"{label} mean", size, bits=4), dyadic(f"{label} pooled", 6, size, bits=4)
    pooled[0] = mean  # a row of zeros
    values = (stream(f"{label} values")[1].uint64(size * components) % np.uint64(255)).astype(np.int64) - 127
    exponents = stream(f"{label} scale")[1].uint64(size) % np.uint64(3)
    scale = (2.0 ** -(7 + exponents.astype(np.float64))).astype(np.float32)
    whitening = Whitening(mean, values.reshape(size, components).astype(np.int8), scale, bound)
    found = _described(whitening, pooled)
    exact = (pooled.astype(np.float64) - mean) @ whitening.projection.astype(np.float64)
    rows = whitening.rows(pooled, 1.0)
    lengths = np.array([math.hypot(*row) for row in exact.tolist()])
    assert np.array_equal(rows[lengths <= bound, :-1], exact[lengths <= bound])
    return found


def _uneven(label: str, size: int, components: int) -> dict[str, Any]:
    """Numbers with all their bits, as a network's features have them; half of the rows are cut."""
    mean, scale, pooled = (
        _real(f"{label} {of}", *shape) for of, shape in (("mean", (size,)), ("scale", (size,)), ("pooled", (6, size)))
    )
    values = (stream(f"{label} values")[1].uint64(size * components) % np.uint64(255)).astype(np.int64) - 127
    parts = mean, values.reshape(size, components).astype(np.int8), np.abs(scale) / np.float32(100)
    lengths = np.linalg.norm(Whitening(*parts, math.inf).rows(pooled, 0.0), axis=1)
    return _described(Whitening(*parts, float(np.float32(np.median(lengths)))), pooled)


def _described(whitening: Whitening, pooled: Float32Array) -> dict[str, Any]:
    return {
        "mean": f32(whitening.mean),
        "values": whitening.values.ravel().tolist(),
        "scale": f32(whitening.scale),
        "bound": f64([whitening.bound]),
        "components": whitening.components,
        "pooled": [f32(row) for row in pooled],
        "constant": 1.0,
        "rows": [f32(row) for row in whitening.rows(pooled, 1.0)],
    }


def _grid(label: str, step: float) -> dict[str, Any]:
    """Features as runtimes give them, off by some last bits of the multiples that they mean."""
    counts = (stream(f"{label} counts")[1].uint64(16) % np.uint64(1021)).astype(np.float64) - 400
    meant = (counts * (step or 0.1)).astype(np.float32)
    given = meant * (1 + np.float32(2.0**-22) * dyadic(f"{label} error", 16))
    assert step == 0 or np.array_equal(on_grid(given, step), meant)
    return {"step": f64([step]), "given": f32(given), "features": f32(on_grid(given, step))}


def _real(label: str, *shape: int) -> Float32Array:
    """Numbers in [-1, 1)."""
    return (stream(label)[1].uint64(int(np.prod(shape))).reshape(shape) / 2.0**63 - 1).astype(np.float32)
