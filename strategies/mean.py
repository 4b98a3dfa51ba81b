"""The uniform mean: federated averaging without a defence."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from skerry.strategies.aggregating import WeighingRule
from skerry.strategies.products import Products

__all__ = ["Mean"]


@dataclass(frozen=True)
class Mean(WeighingRule):
    """``(1/n) Σ x_i``: every device has the same weight, whatever it says about its amount of data.

    Breakdown point 0: a single hostile device moves the result anywhere. Right where updates are trusted or
    the screen has removed what is hostile, and the rule with the least variance under independent noise.

    Summed in float64; the order of the rows can change the last bit, so callers keep them sorted by device id.

    Reference: McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized
    Data" (arXiv:1602.05629), with uniform weights.

    >>> import numpy as np
    >>> Mean()(np.array([[1.0, 0.0], [3.0, 4.0]], np.float32)).tolist()
    [2.0, 2.0]
    """

    name: ClassVar[str] = "mean"
    exact_sum: ClassVar[bool] = True

    def minimum(self) -> int:
        """One update is enough."""
        return 1

    def weights(self, products: Products) -> npt.NDArray[np.float64]:
        """``1/n`` for each of the n rows."""
        return np.full(products.count, 1.0 / products.count)
