"""The Pareto front: networks of which none other is at least as good in everything and better in something."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["pareto_front"]


def pareto_front(costs: npt.ArrayLike) -> tuple[int, ...]:
    """Rows that no other row dominates, in their order.

    Of equal rows all stay. Time is quadratic in the rows.

    Args:
        costs: ``(n, k)``, the smaller the better.
    """
    rows = np.asarray(costs, np.float64)
    front: Sequence[int] = [
        i for i, row in enumerate(rows) if not ((rows <= row).all(axis=1) & (rows < row).any(axis=1)).any()
    ]
    return tuple(front)
