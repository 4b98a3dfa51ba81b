"""Another attack's rows among what honest updates are made of, so that they do not look like copies of each other."""

from dataclasses import dataclass

import numpy as np

from skerry.records import Float32Array
from skerry.security.attacks.attack import Attack, Float64Array, Knowledge, lengths, normal
from skerry.security.privacy.stream import RandomStream

__all__ = ["Blended", "Camouflaged"]


@dataclass(frozen=True)
class Camouflaged(Attack):
    """Adds to each row what the device's own honest training would have differed by from the honest mean.

    What an attacker does who knows that copies under noise are looked for: its rows differ as honest ones do.

    Args:
        attack: whose rows are sent.
    """

    attack: Attack

    def rows(self, known: Knowledge, stream: RandomStream) -> Float32Array:
        """The attack's rows, each with the honest difference of its device."""
        difference = known.own.astype(np.float64) - _mean(known)
        camouflaged: Float32Array = (self.attack.rows(known, stream) + difference).astype(np.float32)
        return camouflaged


@dataclass(frozen=True)
class Blended(Attack):
    """Adds to each row a random combination of the honest updates' differences from their mean.

    As :class:`Camouflaged`, for an attacker who knows every honest update and need not train.

    Args:
        attack: whose rows are sent.
        share: length of what is added over that of honest rows.
    """

    attack: Attack
    share: float = 0.7

    def rows(self, known: Knowledge, stream: RandomStream) -> Float32Array:
        """The attack's rows, each with a combination of its own, drawn anew on each call."""
        sent = self.attack.rows(known, stream)
        weights = normal(len(sent) * len(known.honest), stream).reshape(len(sent), -1)
        blend = weights @ (known.honest.astype(np.float64) - _mean(known))
        long = np.linalg.norm(blend, axis=1, keepdims=True)
        blend *= self.share * float(lengths(known.honest).mean()) / np.where(long > 0, long, 1.0)
        blended: Float32Array = (sent + blend).astype(np.float32)
        return blended


def _mean(known: Knowledge) -> Float64Array:
    found: Float64Array = known.honest.mean(axis=0, dtype=np.float64)
    return found
