"""Another attack's rows at a length for each device, so that they do not look like copies of each other."""

from dataclasses import dataclass

import numpy as np

from skerry.records import Float32Array
from skerry.security.attacks.attack import Attack, Knowledge
from skerry.security.privacy.stream import RandomStream

__all__ = ["Lengthened"]


@dataclass(frozen=True)
class Lengthened(Attack):
    """Makes each row ``factor`` times as long as the one before it; the first keeps its length.

    What an attacker does against whoever measures how far rows lie apart and then clips the long ones: they differ
    by their lengths when they are compared, and no longer do when they are averaged.

    Args:
        attack: whose rows are sent.
        factor: 4 sets two rows more than their mean length apart.
    """

    attack: Attack
    factor: float = 4.0

    def rows(self, known: Knowledge, stream: RandomStream) -> Float32Array:
        """The attack's rows, times 1, ``factor``, ``factor``², …"""
        sent = self.attack.rows(known, stream)
        with np.errstate(over="ignore"):
            longer: Float32Array = sent * np.float32(self.factor) ** np.arange(len(sent), dtype=np.float32)[:, None]
        return longer
