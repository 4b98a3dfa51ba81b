"""A little is enough (ALIE)."""

from dataclasses import dataclass

import numpy as np

from skerry.records import Float32Array
from skerry.security.attacks.attack import Attack, Knowledge, repeated
from skerry.security.privacy.stream import RandomStream

__all__ = ["LittleIsEnough"]


@dataclass(frozen=True)
class LittleIsEnough(Attack):
    """Every hostile device sends ``mean(honest) - scale · std(honest)``, in each coordinate within the honest spread.

    Reference: Baruch, Baruch and Goldberg 2019, "A Little Is Enough: Circumventing Defenses For Distributed Learning"
    (arXiv:1902.06156). The paper's scale follows from n and f; 1.5 is what benchmarks of rules use.
    """

    scale: float = 1.5

    def rows(self, known: Knowledge, stream: RandomStream) -> Float32Array:
        """The same row k times; the stream is not used."""
        del stream
        honest = known.honest.astype(np.float64)
        return repeated(honest.mean(axis=0) - self.scale * honest.std(axis=0), known)
