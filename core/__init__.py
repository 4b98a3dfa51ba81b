"""skerry: secure federated on-device learning.

The rooms, and the only direction in which they import one another:
``core`` (this package) ← ``security`` ← ``device`` ← ``strategies`` ← ``server``.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
