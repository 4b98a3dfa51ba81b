"""Vectors of clipping: grids, factors, rounding, what is left out, and sums with their noise."""

import math
from typing import Any

import numpy as np

from skerry.device.training.dp import Grid
from skerry.errors import InputError

from ._numbers import dyadic, f64, stream

__all__ = ["make"]

_GRIDS = [(1.0, 3.0, 2570), (0.5, 12.345, 12), (2.0, 0.25, 4), (1.0, 800.0, 2570), (1.0, 0.01, 3), (0.1, 30000.0, 7)]


def make() -> dict[str, Any]:
    """The file's content."""
    return {
        "source": "device/training/dp/grid.py",
        "grids": [_grid(*values) for values in _GRIDS],
        "refused": [{"given": [1.0, sigma, size], "why": why} for sigma, size, why in _refused()],
        "sums": [_sum(*values) for values in _GRIDS if values[2] < 100],
    }


def _grid(clip: float, sigma: float, size: int) -> dict[str, Any]:
    grid = Grid(clip, sigma, size)
    norms = np.array([0.0, 1e-300, clip / 2, clip, clip * (1 + 2.0**-52), 3.7, 1e300, math.inf, math.nan])
    return {
        "clip": f64([clip]),
        "noise_multiplier": f64([sigma]),
        "size": size,
        "bound": grid.bound,
        "cell": f64([grid.cell]),
        "radius": f64([grid.radius]),
        "scale": str(grid.noise.scale),
        "norms": f64(norms),
        "factors": f64(grid.factors(norms)),
    }


def _refused() -> list[tuple[float, int, str]]:
    found = [(1e9, 10, "more noise than samplers reach"), (1e-6, 2**40, "sums too long for 64 bits")]
    for sigma, size, why in found:
        try:
            Grid(1.0, sigma, size)
        except InputError:
            continue
        raise AssertionError(why)
    return found


def _sum(clip: float, sigma: float, size: int) -> dict[str, Any]:
    """Rows of every kind: halves that round to even, one exactly as long as may be, others that are too long."""
    grid = Grid(clip, sigma, size)
    gradients = dyadic(f"gradients {sigma}", 20, size).astype(np.float64) * 3
    norms = np.array([math.sqrt(math.fsum((row * row).tolist())) for row in gradients])
    rows = gradients * grid.factors(norms)[:, None]
    odd = np.zeros((8, size))
    odd[0, :3] = 0.5, 1.5, -2.5
    odd[1, 0] = grid.bound
    odd[2, 0] = grid.bound + 1
    odd[3, :2] = grid.bound, 1
    odd[4, 0] = math.nan
    odd[5, 1] = math.inf
    odd[6, 2] = -math.inf
    odd[7, 0] = 1e300
    given = np.concatenate([rows, odd])
    total = np.zeros(size, np.int64)
    left_out = grid.add(given.copy(), total)
    key, source = stream(f"release {sigma}")
    return {
        "grid": [clip, sigma, size],
        "rows": [f64(row) for row in given],
        "total": total.tolist(),
        "left_out": left_out,
        "key": key,
        "released": f64(grid.release(total, source)),
    }
