"""MultiKrum: the mean of the updates with the best Krum scores."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from skerry.errors import AggregationError
from skerry.strategies.aggregating import WeighingRule
from skerry.strategies.krum import krum_scores
from skerry.strategies.products import Products
from skerry.strategies.rows import require_tolerance
from skerry.strategies.select import choose_by_distances

__all__ = ["MultiKrum"]


@dataclass(frozen=True)
class MultiKrum(WeighingRule):
    """``1/m Σ x_i`` over the m rows with the least :func:`~skerry.strategies.krum.krum_scores`; by default m = n - f.

    Breakdown point f/n while n ≥ 2f + 3. With m = n - f all honest rows can be counted, and the variance is nearly
    the mean's; an attack that hides among the honest rows is counted too. Devices are weighed alike: a selected liar
    who claims much data gets no more.

    Equal scores go to the earlier row. Precision and cost as for :class:`~skerry.strategies.krum.Krum`, and one pass
    more.

    Reference: Blanchard et al. 2017, "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent"
    (NeurIPS), section 4; m = n - f as in Allouah et al. 2023 (arXiv:2302.01772).

    Args:
        tolerate: f, devices that may be hostile.
        keep: m; None for n - f.

    >>> rows = np.array([[1.0], [1.25], [1.5], [2.25], [1e9]], np.float32)
    >>> MultiKrum(tolerate=1)(rows).tolist()
    [1.5]
    """

    tolerate: int
    keep: int | None = None
    name: ClassVar[str] = "multi_krum"
    bound: ClassVar[str] = "2f + 3"

    def __post_init__(self) -> None:
        require_tolerance(self.tolerate, rule=self.name)
        if self.keep is not None and self.keep < 1:
            raise AggregationError(f"{self.name} must keep at least one row, not {self.keep}", where=self.name)

    def minimum(self) -> int:
        """2f + 3, and f more than it keeps."""
        return max(2 * self.tolerate + 3, (self.keep or 0) + self.tolerate)

    def weights(self, products: Products) -> npt.NDArray[np.float64]:
        """``1/m`` for the m best rows, else zero."""
        keep = self.keep or products.count - self.tolerate
        weights = np.zeros(products.count)
        chosen = choose_by_distances(products, lambda distances: krum_scores(distances, self.tolerate), keep)
        weights[chosen] = 1.0 / keep
        return weights
