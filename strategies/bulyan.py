"""Bulyan: Krum again and again to select updates, then a mean around the median of each coordinate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array
from skerry.strategies.aggregating import SortedRule, Step
from skerry.strategies.krum import krum_scores
from skerry.strategies.meamed import mean_around_median
from skerry.strategies.products import Products
from skerry.strategies.rows import require_tolerance
from skerry.strategies.select import smallest

__all__ = ["Bulyan", "KrumSelection"]


@dataclass(frozen=True)
class KrumSelection:
    """The θ = n - 2f rows that Krum picks one after the other, each from what is left: Bulyan's first half.

    Scores are computed anew after each pick, on the remaining rows: selecting the θ best of one scoring, as
    some implementations do, is MultiKrum. Equal scores go to the earlier row.

    Args:
        tolerate: f, devices that may be hostile.

    >>> from skerry.strategies.products import RowProducts
    >>> rows = np.array([[0.0], [1.0], [2.0], [4.0], [8.0], [9.0], [90.0]], np.float32)
    >>> KrumSelection(1).matrix(RowProducts(rows, rule="bulyan")).argmax(axis=1).tolist()
    [0, 1, 2, 3, 4]
    """

    tolerate: int
    name: ClassVar[str] = "krum_selection"
    bound: ClassVar[str] = "4f + 3"

    def minimum(self) -> int:
        """Bulyan's bound."""
        return 4 * self.tolerate + 3

    def needed(self, count: int) -> int:
        """2f rows are left out."""
        return count + 2 * self.tolerate

    def matrix(self, products: Products) -> npt.NDArray[np.float64]:
        """``(θ, n)``: a one for each selected row, in row order."""
        left = np.arange(products.count)
        chosen: list[int] = []
        for _ in range(products.count - 2 * self.tolerate):
            pick = int(smallest(krum_scores(products.distances[np.ix_(left, left)], self.tolerate), 1)[0])
            chosen.append(int(left[pick]))
            left = np.delete(left, pick)
        selection = np.zeros((len(chosen), products.count))
        selection[np.arange(len(chosen)), sorted(chosen)] = 1.0
        return selection


@dataclass(frozen=True)
class Bulyan(SortedRule):
    """In each coordinate ``1/(θ - 2f) Σ_{i ∈ N} x_i``, N the θ - 2f values nearest to the median of θ selected rows.

    Krum selects them, θ = n - 2f, one after the other (:class:`KrumSelection`).
    Breakdown point f/n while n ≥ 4f + 3. Krum alone bounds the distance of the result, and in high dimension a
    hostile row may hide a large error in one coordinate within it; here each coordinate must also agree with the
    selected majority.

    Cost: a Gram matrix (n²d), θ Krum scorings of an (n, n) matrix, a sort of the selected rows.

    Reference: El Mhamdi, Guerraoui and Rouault 2018, "The Hidden Vulnerability of Distributed Learning in Byzantium"
    (ICML, arXiv:1802.07927).

    Args:
        tolerate: f, devices that may be hostile.

    >>> rows = np.array([[0.0], [1.0], [2.0], [4.0], [8.0], [9.0], [90.0]], np.float32)
    >>> Bulyan(tolerate=1)(rows).tolist()
    [1.0]
    """

    tolerate: int
    name: ClassVar[str] = "bulyan"
    bound: ClassVar[str] = "4f + 3"

    def __post_init__(self) -> None:
        require_tolerance(self.tolerate, rule=self.name)

    @property
    def steps(self) -> Sequence[Step]:
        """The selection."""
        return (KrumSelection(self.tolerate),)

    def minimum(self) -> int:
        """4f + 3."""
        return 4 * self.tolerate + 3

    def of_sorted(self, block: Float32Array) -> Float32Array:
        """The mean of each line of selected values around its median."""
        return mean_around_median(block, block.shape[1] - 2 * self.tolerate)
