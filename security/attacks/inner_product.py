"""Inner product manipulation (IPM)."""

from dataclasses import dataclass

import numpy as np

from skerry.records import Float32Array
from skerry.security.attacks.attack import Attack, Knowledge, repeated
from skerry.security.privacy.stream import RandomStream

__all__ = ["InnerProduct"]


@dataclass(frozen=True)
class InnerProduct(Attack):
    """Every hostile device sends ``-scale · mean(honest)``: small enough to pass, turned against the true direction.

    Reference: Xie, Koyejo and Gupta 2019, "Fall of Empires: Breaking Byzantine-tolerant SGD by Inner Product
    Manipulation" (arXiv:1903.03936).

    >>> from skerry.security.privacy.stream import seeded_stream
    >>> known = Knowledge(own=np.zeros((2, 1), np.float32), honest=np.array([[1.0], [3.0]], np.float32))
    >>> InnerProduct(0.5).rows(known, seeded_stream(0)).tolist()
    [[-1.0], [-1.0]]
    """

    scale: float = 2.0

    def rows(self, known: Knowledge, stream: RandomStream) -> Float32Array:
        """The same row k times; the stream is not used."""
        del stream
        return repeated(-self.scale * known.honest.mean(axis=0, dtype=np.float64), known)
