"""Pooled features of an int8 network as the numbers that they mean, whichever runtime added them up.

The map that is pooled holds q · scale with whole q, so its mean over m pixels is a whole multiple of scale / m. A
runtime adds floats, in an order of its own, and is off in the last bits: the nearest multiple is what each one means.
"""

import numpy as np

from skerry.records import Float32Array

__all__ = ["on_grid"]


def on_grid(pooled: Float32Array, step: float) -> Float32Array:
    """The nearest multiples of ``step``, each computed in float64 and then rounded; with a step of 0 as they are."""
    if step == 0:
        return pooled
    return (np.floor(pooled.astype(np.float64) / step + 0.5) * step).astype(np.float32)
