"""Mimic: many voices for one honest device."""

from dataclasses import dataclass

import numpy as np

from skerry.records import Float32Array
from skerry.security.attacks.attack import Attack, Knowledge, repeated
from skerry.security.privacy.stream import RandomStream

__all__ = ["Mimic"]


@dataclass(frozen=True)
class Mimic(Attack):
    """Every hostile device copies one honest row, whose data then count k times more than the others'.

    Nothing about the row is wrong; under label skew the classes of the others are lost.

    Reference: Karimireddy, He and Jaggi 2022, "Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing"
    (arXiv:2006.09365).

    Args:
        whom: number of the honest row.
    """

    whom: int = 0

    def rows(self, known: Knowledge, stream: RandomStream) -> Float32Array:
        """The same row k times; the stream is not used."""
        del stream
        return repeated(np.asarray(known.honest[self.whom % len(known.honest)]), known)
