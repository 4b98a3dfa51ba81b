"""Copies under noise of their own: updates that are the same in every direction that other updates have."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from skerry.security.anomaly.evidence import Mask
from skerry.security.anomaly.span import noise_share

__all__ = ["Disguises", "disguises"]

Float64Array = npt.NDArray[np.float64]

_FEWEST = 6  # so that every pair has four others, whose directions are looked at
_APART = 5.0  # times the limit: where the usual update lies nearer to another, noise tells no copies
_RIDGE = 1e-6  # of squared lengths of 1: others that are copies or sums of each other leave their span as it is
_NEAR = 1e-4  # 1 - |cosine| below which rounding decides; such pairs are near by their distance, or opposed


@dataclass(frozen=True)
class Disguises:
    """What sets each pair of updates apart where other updates point, over what the two have elsewhere.

    Attributes:
        shares: ``(n, n)``, symmetric; infinite for pairs that are not compared.
        limit: below it a pair differs there by no more than noise; 0 where that could not be told.
        usual: the median of the least share of each update that is nobody's copy; 0 where these are no majority.
    """

    shares: Float64Array
    limit: float
    usual: float

    @property
    def pairs(self) -> Mask:
        """``(n, n)`` pairs that are copies but for noise."""
        return self.shares < self.limit


def disguises(gram: Float64Array, size: int) -> Disguises:
    """Compare every pair within the span of the *other* updates, S.

    Write each of the two as ``x = p + r`` with p in S and r across it. Noise that a device draws for itself has next to
    nothing in S, n - 2 of d directions, so that of two copies under noise p_i and p_j point one way: what sets them
    apart in S is at most twice a chi-square share, and

        |p_i - t·p_j|² / |r_i|²,  t ≥ 0 the best,

    is below twice :func:`~skerry.security.anomaly.span.noise_share` of n - 2 rows, where the two have as much noise for
    their length. It makes no difference whether the noise is fresh in each round or kept. Honest updates differ in
    directions that other honest updates have too: in the lab by at least four times that, usually by a hundred times.
    No error is stated for them, and two honest devices with classes that nobody else has come below it (in the
    lab down to a fifteenth of it): what they teach lies across the others, as noise does.

    The share of a pair is the larger of the two, i's over r_i and j's over r_j: whatever a device sends, no honest
    update's share gets small unless it is itself copied, or is itself nothing but noise.

    Args:
        gram: ``(n, n)`` inner products; rows of zeros are compared with nobody.
        size: d.

    >>> rng = np.random.default_rng(0)
    >>> rows = rng.normal(size=(9, 4)) @ rng.normal(size=(4, 5000))
    >>> rows[8] = rows[7]
    >>> rows += rng.normal(size=rows.shape)
    >>> np.argwhere(disguises(rows @ rows.T, 5000).pairs).tolist()
    [[7, 8], [8, 7]]
    """
    there = np.flatnonzero(np.diagonal(gram) > 0)
    shares = np.full(gram.shape, np.inf)
    count = len(there)
    if count < _FEWEST:
        return Disguises(shares, 0.0, np.inf)
    shares[np.ix_(there, there)] = _shares(gram[np.ix_(there, there)])
    limit = 2 * noise_share(count - 2, size)
    nearest = shares[there].min(axis=1)
    rest = nearest[nearest >= limit]
    usual = float(np.median(rest)) if 2 * len(rest) > count else 0.0
    return Disguises(shares, limit if usual > _APART * limit else 0.0, usual)


def _shares(gram: Float64Array) -> Float64Array:
    """``(n, n)`` for rows that are not zero, infinite on the diagonal and for pairs that are nearly equal."""
    lengths = np.sqrt(np.diagonal(gram))
    cosines = gram / lengths[:, None] / lengths
    inverse = np.linalg.inv(cosines + _RIDGE * np.eye(len(gram)))
    own = np.diagonal(inverse)
    compared = np.abs(cosines) < 1 - _NEAR
    # What is left of i and j across the others' span has as Gram matrix the inverse of the inverse's block of i and j.
    determinant = np.where(compared, own[:, None] * own - inverse**2, 1.0)
    rest = own[None, :] / determinant
    inside, between = np.maximum(1 - rest, 0.0), np.maximum(cosines + inverse / determinant, 0.0)
    along = np.divide(between**2, inside.T, out=np.zeros_like(between), where=inside.T > 0)
    one_way = np.where(compared, np.maximum(inside - along, 0.0) / rest, np.inf)
    found: Float64Array = np.maximum(one_way, one_way.T)
    return found
