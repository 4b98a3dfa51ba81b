"""Another attack's rows under noise, so that they do not look like copies of each other."""

from dataclasses import dataclass

import numpy as np

from skerry.records import Float32Array
from skerry.security.attacks.attack import Attack, Knowledge, lengths, normal
from skerry.security.privacy.stream import RandomStream

__all__ = ["Disguised"]


@dataclass(frozen=True)
class Disguised(Attack):
    """Adds to each row noise of its own, ``jitter`` times as long as honest rows are on average.

    What an attacker does who knows that copies are looked for. The noise averages out over the rows, what the
    attack is for does not.

    Args:
        attack: whose rows are sent.
        jitter: 0.7 puts hostile rows about as far apart as honest rows of different data.
    """

    attack: Attack
    jitter: float = 0.7

    def rows(self, known: Knowledge, stream: RandomStream) -> Float32Array:
        """Fresh noise on each call, for each device."""
        sent = self.attack.rows(known, stream)
        k, size = sent.shape
        length = self.jitter * float(lengths(known.honest).mean()) / np.sqrt(size)
        noise = normal(k * size, stream).reshape(k, size) * length
        disguised: Float32Array = (sent + noise).astype(np.float32)
        return disguised
