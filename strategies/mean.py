"""The uniform mean: federated averaging without a defence."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skerry.records import Float32Array
from skerry.strategies.rows import require_rows

__all__ = ["Mean"]


@dataclass(frozen=True)
class Mean:
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

    def minimum(self) -> int:
        """One update is enough."""
        return 1

    def __call__(self, deltas: Float32Array) -> Float32Array:
        """``(n, d)`` float32 rows to a new ``(d,)`` float32 vector.

        Raises:
            AggregationError: no rows, or rows that are not finite.
        """
        require_rows(deltas, rule=self.name, minimum=self.minimum())
        return self.combine(deltas)

    def combine(self, rows: Float32Array) -> Float32Array:
        """The mean of rows that were already checked."""
        result: Float32Array = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        return result
