"""How much of an update some non-negative mixture of given updates explains."""

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array
from skerry.security.anomaly.evidence import Rows

__all__ = ["Cone"]

Float64Array = npt.NDArray[np.float64]

_RIDGE = 1e-9  # of the mean diagonal, so that updates of one direction can be told apart
_BLOCK = 4096


class Cone:
    """The mixtures ``Σ w_a x_a``, w ≥ 0, of k given updates, and the rows of one round beside them.

    The nearest mixture is found by non-negative least squares on inner products, so a row costs k² after one product
    of matrices.

    Args:
        rows: of the round.
        given: ``(k, d)`` float32, finite, not all zero.
    """

    def __init__(self, rows: Rows, given: Float32Array) -> None:
        k = len(given)
        with_given, among = np.zeros((len(rows), k)), np.zeros((k, k))
        for start in range(0, rows.size, _BLOCK):
            part = given[:, start : start + _BLOCK].astype(np.float64)
            with_given += rows.values[:, start : start + _BLOCK].astype(np.float64) @ part.T
            among += part @ part.T
        corner = np.linalg.cholesky(among + _RIDGE * np.trace(among) / k * np.eye(k))
        self._sides = corner.T
        self._targets = np.linalg.solve(corner, with_given.T).T
        self._squares = rows.lengths**2

    def nearest(self, index: int, sign: int = 1) -> tuple[float, Float64Array] | None:
        """Share of the squared length of ``sign`` times a row that its nearest mixture explains, and the k weights.

        None when the solver gives up. A row of zeros is explained by nothing.
        """
        from scipy.optimize import nnls

        if self._squares[index] == 0:
            return 0.0, np.zeros(len(self._sides))
        target = sign * self._targets[index]
        try:
            weights, away = nnls(self._sides, target)
        except RuntimeError:  # after 3 k steps, which rounding can take it to
            return None
        return float((target @ target - away**2) / self._squares[index]), weights
