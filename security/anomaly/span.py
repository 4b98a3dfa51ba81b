"""How much of each update lies in the directions that the other devices' updates have."""

import numpy as np
import numpy.typing as npt

from skerry.security.anomaly.evidence import Mask

__all__ = ["shares_in_span"]

Float64Array = npt.NDArray[np.float64]

_RIDGE = 1e-9  # of squared lengths of 1: copies among the members leave their span as it is


def shares_in_span(gram: Float64Array, members: Mask) -> Float64Array:
    """``(n,)`` share of each row's squared length that lies in the span of the members, without the row itself.

    From inner products alone: what the other members leave of member i is ``1 / (G⁻¹)_ii`` of its squared length, G
    their cosines.

    Args:
        gram: ``(n, n)`` inner products of the rows; none of them is zero.
        members: ``(n,)`` rows that make the span; at least one.

    >>> rows = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 2.0], [3.0, 0.0, 3.0]])
    >>> shares_in_span(rows @ rows.T, np.array([True, True, False, False])).round(3).tolist()
    [0.5, 0.5, 0.0, 0.5]
    """
    lengths = np.sqrt(np.diagonal(gram))
    cosines = gram / lengths[:, None] / lengths
    inverse = np.linalg.inv(cosines[np.ix_(members, members)] + _RIDGE * np.eye(int(members.sum())))
    shares = np.empty(len(gram))
    shares[members] = 1 - 1 / np.diagonal(inverse)
    outside = cosines[np.ix_(~members, members)]
    shares[~members] = np.einsum("ij,jk,ik->i", outside, inverse, outside)
    return np.clip(shares, 0.0, 1.0)
