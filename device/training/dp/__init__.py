"""Private sums of per-example gradients: what is clipped, how, and the integer grid that noise is added on.

``grid`` needs no torch (a device in ``head`` mode has none); ``clipping``, ``rules`` and ``opacus`` do, and are
imported by name.
"""

from skerry.device.training.dp.grid import Grid

__all__ = ["Grid"]
