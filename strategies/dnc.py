"""DnC: the mean of what is left when outliers along the principal direction are removed."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from skerry.errors import AggregationError
from skerry.strategies.aggregating import WeighingRule
from skerry.strategies.principal import principal
from skerry.strategies.products import Products
from skerry.strategies.rows import require_tolerance
from skerry.strategies.select import smallest

__all__ = ["DnC"]


@dataclass(frozen=True)
class DnC(WeighingRule):
    """Divide and conquer: the mean of the rows that are left when f outliers along the principal direction are removed.

    ``s_i = ⟨x_i - μ, v⟩²``, v the first right singular vector of the centred rows. The paper finds v in a random
    sample of coordinates, because it works on the rows; the (n, n) Gram matrix gives it in all of them, so nothing is
    random. The paper removes all f rows at once (``turns=1``); the default removes one at a time and looks for v
    again, because one enormous row turns v towards itself and hides every other outlier behind it.

    Breakdown point f/n while n ≥ 2f + 1 for outliers that stand out along some direction; strong under label skew and
    against attacks that agree with each other (ALIE, Min-Max). A direction in which honest devices truly differ most
    can cost up to f of them their place. If two directions are equally strong, v is either.

    Cost: a Gram matrix (n²d), f eigenvectors of an (n, n) matrix, one more pass.

    Reference: Shejwalkar and Houmansadr 2021, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks and
    Defenses for Federated Learning" (NDSS), algorithm 2.

    Args:
        tolerate: f, devices that may be hostile.
        turns: in how many turns they are removed; None for one each.

    >>> rows = np.array([[1.0, 0.0], [3.0, 0.5], [2.0, -0.5], [2.0, 1e9]], np.float32)
    >>> DnC(tolerate=1)(rows).tolist()
    [2.0, 0.0]
    """

    tolerate: int
    turns: int | None = None
    name: ClassVar[str] = "dnc"
    bound: ClassVar[str] = "2f + 1"

    def __post_init__(self) -> None:
        require_tolerance(self.tolerate, rule=self.name)
        if self.turns is not None and self.turns < 1:
            raise AggregationError(f"{self.name} needs at least one turn, not {self.turns}", where=self.name)

    def minimum(self) -> int:
        """A majority must be honest: 2f + 1."""
        return 2 * self.tolerate + 1

    def weights(self, products: Products) -> npt.NDArray[np.float64]:
        """``1/(n - f)`` for the rows that are left, else zero."""
        n, f = products.count, self.tolerate
        left = np.arange(n)
        turns = min(self.turns or f, f)
        for turn in range(turns):
            keep = n - f * (turn + 1) // turns
            _, shares = principal(products.distances[np.ix_(left, left)], np.ones(len(left)))
            left = left[smallest(shares, keep)]
        weights = np.zeros(n)
        weights[left] = 1.0 / len(left)
        return weights
