"""Bucketing: a rule sees means of a few updates each, drawn at random."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from skerry.errors import AggregationError
from skerry.strategies.products import Products

__all__ = ["Bucketing"]


@dataclass(frozen=True)
class Bucketing:
    """Rows are shuffled and averaged s at a time: ``⌈n/s⌉`` rows, the last of fewer where s does not divide n.

    Honest rows of devices with different data become more alike, by a factor of s in variance. f hostile devices
    spoil at most f buckets, so the rule that follows must tolerate f of ``⌈n/s⌉``: the breakdown point is divided by s.
    Against a coordinator's known seed an attacker could choose company: in a real fleet the seed must be secret.

    Reference: Karimireddy, He and Jaggi 2022, "Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing"
    (ICLR, arXiv:2006.09365).

    Args:
        size: s.
        seed: of the shuffle; take another one each round.

    >>> from skerry.strategies.products import RowProducts
    >>> Bucketing(2, seed=0).matrix(RowProducts(np.ones((3, 1), np.float32), rule="mean")).sum(axis=1).tolist()
    [1.0, 1.0]
    """

    size: int = 2
    seed: int = 0
    name: ClassVar[str] = "bucketing"
    bound: ClassVar[str] = "1"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise AggregationError(f"{self.name} needs at least one row a bucket, not {self.size}", where=self.name)

    def minimum(self) -> int:
        """One update is enough."""
        return 1

    def needed(self, count: int) -> int:
        """All buckets full but the last, which has one row."""
        return (count - 1) * self.size + 1

    def matrix(self, products: Products) -> npt.NDArray[np.float64]:
        """``(⌈n/s⌉, n)``: in each row one over the bucket's size for its members."""
        n = products.count
        shuffled = np.random.default_rng(self.seed).permutation(n)
        mixing = np.zeros((-(-n // self.size), n))
        for bucket, row in enumerate(mixing):
            members = shuffled[bucket * self.size : (bucket + 1) * self.size]
            row[members] = 1.0 / len(members)
        return mixing
