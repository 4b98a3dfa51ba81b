"""Numbers that are no numbers: what a broken device sends as well as a hostile one."""

from dataclasses import dataclass

import numpy as np

from skerry.records import Float32Array
from skerry.security.attacks.attack import Attack, Knowledge
from skerry.security.privacy.stream import RandomStream

__all__ = ["Infinite", "NotANumber"]


@dataclass(frozen=True)
class NotANumber(Attack):
    """Sends NaN in every coordinate."""

    def rows(self, known: Knowledge, stream: RandomStream) -> Float32Array:
        """NaN throughout; the stream is not used."""
        del stream
        return np.full_like(known.own, np.nan)


@dataclass(frozen=True)
class Infinite(Attack):
    """Sends an honest delta with one infinite coordinate: enough to destroy a mean."""

    def rows(self, known: Knowledge, stream: RandomStream) -> Float32Array:
        """The first coordinate is infinite; the stream is not used."""
        del stream
        sent = known.own.copy()
        sent[:, 0] = np.inf
        return sent
