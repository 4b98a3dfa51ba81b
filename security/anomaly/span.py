"""How much of each update lies in the directions that the other devices' updates have."""

from math import log, sqrt

import numpy as np
import numpy.typing as npt

from skerry.security.anomaly.evidence import Mask

__all__ = ["SPAN_ERROR", "noise_share", "shares_in_span"]

Float64Array = npt.NDArray[np.float64]

SPAN_ERROR = 1e-3
"""Probability with which noise has more of itself in others' directions than :func:`noise_share` says."""

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


def noise_share(members: int, size: int) -> float:
    """Share of the squared length of noise, drawn without looking, that lies in the span of so many rows of ``size``.

    ``(m + 2√(m·x) + 2x)/d``, x = -ln ``SPAN_ERROR``, for a chi-square share of m of d directions (Laurent and Massart
    2000, lemma 1).

    >>> round(noise_share(14, 15210), 4)
    0.0031
    """
    x = -log(SPAN_ERROR)
    return (members + 2 * sqrt(members * x) + 2 * x) / size
