"""q-FFL: devices on which the model does badly count for more.

Li et al. 2020, "Fair resource allocation in federated learning" (arXiv:1905.10497): instead of the mean loss, minimise
``Σ F_k^{q+1} / (q+1)``. Algorithm 2 (q-FedAvg), with L = 1/η for the unknown Lipschitz constant: from ``Δw_k = L·(w −
w_k)`` the server steps by ``−Σ F_k^q·Δw_k / Σ h_k``, where ``h_k = q·F_k^{q−1}·‖Δw_k‖² + L·F_k^q`` bounds how fast the
objective's slope changes. q = 0 is federated averaging.

Here that step is the mean of updates that are each scaled by a weight, so that any aggregation rule follows, as after
staleness weights. A loss is what a device *says*: who lies takes weight from others. So losses, and the norms in h, are
first moved between the (f+1)-th smallest and the (f+1)-th largest: with at most f liars each of these bounds lies
between values of honest devices, so nobody's loss counts for more or less than an honest one does.

q between 0 and 1 is refused: there ``F^{q−1}`` has no bound as F nears 0, so h of a few devices that the model fits all
but perfectly outgrows the whole sum, and shortens everybody's step to nothing.
"""

import numpy as np
import numpy.typing as npt

from skerry.errors import InputError
from skerry.records import Float32Array

__all__ = ["fair_weights"]

_LEAST = 1e-10  # added to losses, as the authors' own code does: the largest is divided by


def fair_weights(
    deltas: Float32Array, losses: npt.NDArray[np.float64], *, q: float, learning_rate: float, tolerate: int
) -> Float32Array:
    """``(n,)`` weights; the mean of the weighted updates is q-FedAvg's step. None is negative or above n.

    Args:
        deltas: ``(n, d)`` updates ``w_k − w``.
        losses: ``(n,)`` F_k, mean loss of w on each device's examples; finite and at least 0.
        q: 0, or at least 1; the larger, the more the worst count.
        learning_rate: η of the device's steps.
        tolerate: f. Where ``n ≤ 2f`` all losses count as their median does.

    Raises:
        InputError: not one usable loss a row, or a number out of its range.

    >>> unit = np.eye(2, dtype=np.float32)
    >>> fair_weights(unit, np.array([1.0, 3.0]), q=0, learning_rate=0.1, tolerate=0).tolist()
    [1.0, 1.0]
    """
    if losses.shape != deltas.shape[:1] or not (np.isfinite(losses).all() and (losses >= 0).all()):
        raise InputError(f"{len(deltas)} updates need as many finite losses of at least 0")
    if not (q == 0 or 1 <= q < float("inf")) or not 0 < learning_rate < float("inf") or tolerate < 0:
        raise InputError(
            f"q is 0 or at least 1, f at least 0, a learning rate positive: got {q}, {tolerate}, {learning_rate}"
        )
    if not len(losses):
        return np.zeros(0, np.float32)
    wide = deltas.astype(np.float64)
    slopes = np.einsum("ij,ij->i", wide, wide) / learning_rate**2  # ‖Δw_k‖²
    bounded = _between(losses + _LEAST, tolerate)
    # Divided by the largest loss: a power of a ratio below 1 does not overflow, and it cancels.
    largest = bounded.max()
    powers = (bounded / largest) ** q
    bends = q * (bounded / largest) ** (q - 1) * _between(slopes, tolerate) / largest
    total = (bends * learning_rate + powers).sum()
    weights: Float32Array = (len(losses) * powers / total).astype(np.float32)
    return weights


def _between(values: npt.NDArray[np.float64], tolerate: int) -> npt.NDArray[np.float64]:
    """Values moved between the (f+1)-th smallest and the (f+1)-th largest."""
    ordered = np.sort(values)
    out = min(tolerate, (len(values) - 1) // 2)
    moved: npt.NDArray[np.float64] = np.clip(values, ordered[out], ordered[-1 - out])
    return moved
