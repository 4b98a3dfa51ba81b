"""Sharing labelled examples out among devices that see different classes, by a Dirichlet distribution."""

import numpy as np
import numpy.typing as npt

from skerry.errors import TaskError

__all__ = ["dirichlet_split"]


def dirichlet_split(
    y: npt.NDArray[np.int64], holders: int, *, alpha: float, minimum: int, generator: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Indices of each holder's examples, sorted; every example goes to exactly one holder.

    For each class, shares over holders are drawn from Dir(α, …, α) and the class's shuffled examples are cut at them
    (Yurochkin et al., arXiv:1905.12022; the partition "label distribution skew" of Li et al., arXiv:2102.02079). Where
    those works draw anew until nobody has too little, here holders below ``minimum`` are given random examples of
    whoever then has most: that always ends, and it changes only those holders.

    Args:
        y: ``(n,)`` labels.
        holders: among how many.
        alpha: concentration; ∞ would give everybody the same mix.
        minimum: examples that each holder has at least.
        generator: all randomness comes from it.

    Raises:
        TaskError: there are not enough examples.
    """
    if holders * minimum > len(y):
        raise TaskError(
            f"{len(y):,} examples do not give {holders:,} devices at least {minimum} each",
            mend="lower task.devices or task.public_examples",
        )
    owner = np.empty(len(y), np.int64)
    for label in np.unique(y):
        members = generator.permutation(np.flatnonzero(y == label))
        # A Dirichlet draw is a row of gamma draws over their sum; for tiny α all of them can underflow to 0.
        shares = generator.gamma(alpha, size=holders) + np.finfo(np.float64).tiny
        ends = np.rint(np.cumsum(shares / shares.sum()) * len(members)).astype(np.int64)
        owner[members] = np.searchsorted(ends, np.arange(len(members)), side="right").clip(max=holders - 1)
    counts = np.bincount(owner, minlength=holders)
    while counts.min() < minimum:
        richest, poorest = int(counts.argmax()), int(counts.argmin())
        given = min(minimum - int(counts[poorest]), max(1, (int(counts[richest]) - minimum) // 2))
        owner[generator.choice(np.flatnonzero(owner == richest), given, replace=False)] = poorest
        counts = np.bincount(owner, minlength=holders)
    return [np.flatnonzero(owner == holder) for holder in range(holders)]
