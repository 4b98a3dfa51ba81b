"""Random updates: no training at all, or much noise on top of it."""

from dataclasses import dataclass

import numpy as np

from skerry.records import Float32Array
from skerry.security.attacks.attack import Attack, Knowledge, lengths, normal
from skerry.security.privacy.stream import RandomStream

__all__ = ["GaussianNoise", "RandomDirection"]


@dataclass(frozen=True)
class RandomDirection(Attack):
    """Sends a vector of uniformly random direction, ``scale`` times as long as the honest delta.

    Reference: Blanchard et al. 2017, "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent"
    (arXiv:1703.02757), the Gaussian attack with its length matched.
    """

    scale: float = 1.0

    def rows(self, known: Knowledge, stream: RandomStream) -> Float32Array:
        """A fresh direction on each call, for each device."""
        k, size = known.own.shape
        direction = normal(k * size, stream).reshape(k, size)
        length = np.sqrt(np.einsum("ij,ij->i", direction, direction))[:, None]
        length[length == 0] = 1.0
        sent: Float32Array = (direction * (self.scale * lengths(known.own) / length)).astype(np.float32)
        return sent


@dataclass(frozen=True)
class GaussianNoise(Attack):
    """Sends the honest delta plus Gaussian noise ``scale`` times as long: training that a broken sensor spoils."""

    scale: float = 1.0

    def rows(self, known: Knowledge, stream: RandomStream) -> Float32Array:
        """Fresh noise on each call, for each device."""
        return known.own + RandomDirection(self.scale).rows(known, stream)
