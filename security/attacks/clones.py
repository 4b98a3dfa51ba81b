"""Sybil clones: one attacker under many names."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skerry.records import Float32Array
from skerry.security.attacks.attack import Attack, Knowledge, lengths, normal, repeated
from skerry.security.privacy.stream import RandomStream

__all__ = ["Clones"]


@dataclass(frozen=True)
class Clones(Attack):
    """All hostile devices push in one random direction, the same in a round, ``scale`` times as long as their own rows.

    Reference: Fung, Yoon and Beschastnikh 2020, "The Limitations of Federated Learning in Sybil Settings"
    (arXiv:1808.04866).

    Args:
        scale: length over the hostile devices' mean length.
        jitter: length of each device's own noise over that of the common row; 0 is an exact copy.
    """

    scale: float = 1.0
    jitter: float = 0.0
    shared: ClassVar[bool] = True

    def rows(self, known: Knowledge, stream: RandomStream) -> Float32Array:
        """One direction for each call."""
        size = known.own.shape[1]
        common = normal(size, stream)
        length = self.scale * float(lengths(known.own).mean())
        common *= length / (float(np.linalg.norm(common)) or 1.0)
        sent = repeated(common, known)
        if self.jitter:
            own = normal(sent.size, stream).reshape(sent.shape)
            sent += (own * (self.jitter * length / np.sqrt(size))).astype(np.float32)
        return sent
