"""CAF: a weighted mean whose covariance is as small as f devices allow."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from skerry.strategies.aggregating import WeighingRule
from skerry.strategies.principal import principal
from skerry.strategies.products import Products
from skerry.strategies.rows import require_tolerance

__all__ = ["CAF"]

_ALIKE = 1e-9


@dataclass(frozen=True)
class CAF(WeighingRule):
    """Covariance-bound agnostic filter: a weighted mean whose weighted covariance has the least largest eigenvalue met.

    From c = 1: μ and the principal direction v of the weighted rows; ``τ_i = ⟨x_i - μ, v⟩²``; ``c_i ← c_i (1 - τ_i /
    max τ)``; until ``Σ c ≤ n - 2f``. The result is the μ with the least eigenvalue. Each turn sets at least one
    weight to zero. Eigenvectors are exact: one step of power iteration from a random start, as elsewhere, gives
    another result each time.

    Breakdown point f/n while n ≥ 2f + 1; the error is within a constant of the honest rows' covariance bound, without
    knowing that bound.

    Cost: a Gram matrix (n²d), about 2f eigenvectors of an (n, n) matrix, one more pass.

    Reference: Allouah, Guerraoui and Stephan 2025, "Towards Trustworthy Federated Learning with Untrusted Participants"
    (ICML, arXiv:2505.01874).

    Args:
        tolerate: f, devices that may be hostile.

    >>> rows = np.array([[1.0, 0.0], [3.0, 0.0], [2.0, 0.0], [2.0, 1e6]], np.float32)
    >>> CAF(tolerate=1)(rows).round(4).tolist()
    [2.0, 0.0]
    """

    tolerate: int
    name: ClassVar[str] = "caf"
    bound: ClassVar[str] = "2f + 1"

    def __post_init__(self) -> None:
        require_tolerance(self.tolerate, rule=self.name)

    def minimum(self) -> int:
        """A majority must be honest: 2f + 1."""
        return 2 * self.tolerate + 1

    def weights(self, products: Products) -> npt.NDArray[np.float64]:
        """``c / Σ c`` of the best turn."""
        n = products.count
        counts = np.ones(n)
        best, least = counts / n, np.inf
        while counts.sum() > n - 2 * self.tolerate:
            largest, shares = principal(products.distances, counts)
            if largest < least:
                best, least = counts / counts.sum(), largest
            farthest = float(shares[counts > 0].max())
            if farthest == 0.0:  # all that still count are equal
                break
            kept = 1.0 - shares / farthest
            counts = np.where(
                kept > _ALIKE, counts * kept, 0.0
            )  # rows that are alike go together, whatever rounding says
        return best
