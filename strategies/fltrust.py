"""FLTrust: updates count as far as they agree with one that the coordinator made from data of its own."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from skerry.errors import AggregationError
from skerry.records import Float32Array
from skerry.strategies.aggregating import WeighingRule
from skerry.strategies.products import Products

__all__ = ["FLTrust"]


@dataclass(frozen=True, eq=False)
class FLTrust(WeighingRule):
    """``Σ t_i x_i ‖r‖/‖x_i‖ / Σ t_i`` with trust ``t_i = max(0, cos(x_i, r))`` in the root update r.

    Every update is brought to the root's length, so that size buys nothing; what points against the root has no weight.
    If no update agrees with the root, the result is zero: the model stays.

    Assumes that r comes from clean data that resemble the devices'. Then there is no breakdown point, that is no bound
    on the number of hostile devices; an attack within the root's half-space still turns the result within it. A root
    from other data than the devices' costs accuracy that no attacker need exist for.

    Needs a vector for each round, so a scenario cannot name it: build it where the root update is made.

    Reference: Cao et al. 2021, "FLTrust: Byzantine-robust Federated Learning via Trust Bootstrapping" (NDSS,
    arXiv:2012.13995).

    Args:
        root: r, ``(d,)`` float32, finite, not zero.

    >>> root = np.array([1.0, 0.0], np.float32)
    >>> FLTrust(root)(np.array([[5.0, 0.0], [-1e9, 0.0]], np.float32)).tolist()
    [1.0, 0.0]
    """

    root: Float32Array
    name: ClassVar[str] = "fltrust"

    def __post_init__(self) -> None:
        if self.root.ndim != 1 or not np.isfinite(self.root).all() or not self.root.any():
            raise AggregationError(f"{self.name} needs a root update that is finite and not zero", where=self.name)

    def minimum(self) -> int:
        """One update is enough."""
        return 1

    def weights(self, products: Products) -> npt.NDArray[np.float64]:
        """``t_i ‖r‖/‖x_i‖ / Σ t_i``; zero for rows of length zero."""
        wide = self.root.astype(np.float64)
        own = float(np.sqrt(wide @ wide))
        lengths = np.sqrt(products.squares)
        inner = products.against(self.root)
        there = lengths > 0
        trust, factors = np.zeros(products.count), np.zeros(products.count)
        trust[there] = np.maximum(inner[there] / (lengths[there] * own), 0.0)
        factors[there] = own / lengths[there]
        total = trust.sum()
        weights: npt.NDArray[np.float64] = trust * factors / (total if total > 0 else 1.0)
        return weights
