"""FLAME: the majority that points the same way, clipped to the median length."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from skerry.strategies.aggregating import WeighingRule
from skerry.strategies.clipping import clip_factors
from skerry.strategies.gram import cosines
from skerry.strategies.products import Products
from skerry.strategies.rows import require_tolerance
from skerry.strategies.select import settled

__all__ = ["FLAME", "majority_cluster"]

Float64Array = npt.NDArray[np.float64]


def majority_cluster(distances: Float64Array) -> npt.NDArray[np.bool_]:
    """``(n,)`` mask of the first cluster of more than n/2 rows as rows at growing distances are joined.

    That is what HDBSCAN finds with ``min_cluster_size = n/2 + 1``, ``min_samples = 1`` and a single cluster allowed:
    no split of such a cluster can leave two of its size, so the cluster that lives longest is the first one to reach
    it.

    >>> majority_cluster(np.array([[0.0, 1.0, 9.0], [1.0, 0.0, 9.0], [9.0, 9.0, 0.0]])).tolist()
    [True, True, False]
    """
    n = len(distances)
    rows, columns = np.triu_indices(n, k=1)
    levels = settled(distances[rows, columns])
    order = np.argsort(levels, kind="stable")
    cluster = np.arange(n)
    sizes = np.ones(n, np.int64)
    for position, edge in enumerate(order):
        one, other = cluster[rows[edge]], cluster[columns[edge]]
        if one != other:
            cluster[cluster == other] = one
            sizes[one] += sizes[other]
        last = position + 1 == len(order) or levels[order[position + 1]] > levels[edge]  # rows at a tie join together
        if last and 2 * sizes.max() > n:
            break
    chosen: npt.NDArray[np.bool_] = cluster == int(np.argmax(np.bincount(cluster, minlength=n)))
    return chosen


@dataclass(frozen=True)
class FLAME(WeighingRule):
    """``1/L Σ x_i min(1, S/‖x_i‖)`` over the L rows of the majority cluster by cosine, S the median length of all rows.

    Against backdoors: what points elsewhere than the majority is left out, what is too long is clipped. The third
    part of the paper, noise on the aggregate, is the privacy stage's in skerry: with differential privacy at the
    server it is there already. Breakdown point 1/2 while hostile devices are not themselves the densest majority:
    honest devices with different data may point in quite different directions, and then a tight minority can chain
    with a few of them.

    Cost: a Gram matrix (n²d), a sort of n²/2 cosines, one more pass.

    Reference: Nguyen et al. 2022, "FLAME: Taming Backdoors in Federated Learning" (USENIX Security, arXiv:2101.02281).

    Args:
        tolerate: f, devices that may be hostile; only the number of rows is checked by it.

    >>> FLAME(tolerate=1)(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 90.0]], np.float32)).tolist()
    [1.0, 0.0]
    """

    tolerate: int = 0
    name: ClassVar[str] = "flame"
    bound: ClassVar[str] = "2f + 1"

    def __post_init__(self) -> None:
        require_tolerance(self.tolerate, rule=self.name)

    def minimum(self) -> int:
        """A majority must be honest: 2f + 1."""
        return 2 * self.tolerate + 1

    def weights(self, products: Products) -> Float64Array:
        """The factors of clipping over L for the majority, else zero."""
        chosen = majority_cluster(1.0 - cosines(products.gram))
        factors: Float64Array = np.where(chosen, clip_factors(products.squares, None), 0.0) / chosen.sum()
        return factors
