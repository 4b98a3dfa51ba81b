"""Honest updates times a number: reversed, or too large."""

from dataclasses import dataclass

import numpy as np

from skerry.records import Float32Array
from skerry.security.attacks.attack import Attack, Knowledge
from skerry.security.privacy.stream import RandomStream

__all__ = ["Scaling", "SignFlip"]


@dataclass(frozen=True)
class SignFlip(Attack):
    """Sends ``-scale · delta``: training in reverse, ``scale`` times as hard.

    Reference: Li et al. 2019, "RSA: Byzantine-Robust Stochastic Aggregation Methods" (arXiv:1811.03761), where it
    is one of the attacks tried.
    """

    scale: float = 1.0

    def rows(self, known: Knowledge, stream: RandomStream) -> Float32Array:
        """The flipped deltas; the stream is not used."""
        return Scaling(-self.scale).rows(known, stream)


@dataclass(frozen=True)
class Scaling(Attack):
    """Sends ``scale · delta``: with ``scale`` the number of devices a mean becomes the attacker's model.

    Reference: Bagdasaryan et al. 2020, "How to Backdoor Federated Learning" (arXiv:1807.00459), model replacement.
    """

    scale: float = 10.0

    def rows(self, known: Knowledge, stream: RandomStream) -> Float32Array:
        """The scaled deltas; the stream is not used."""
        del stream
        with np.errstate(over="ignore"):
            return (self.scale * known.own).astype(np.float32)
