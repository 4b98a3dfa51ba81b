"""Which rows have the smallest scores: decided on quick distances where these are clear, ties by row order."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from skerry.strategies.gram import QUICK_ERROR
from skerry.strategies.products import Products

__all__ = ["choose", "choose_by_distances", "nearest", "nearest_rows", "settled", "smallest"]

Float64Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

_MARGIN = 4 * QUICK_ERROR  # of both scores' errors, and as much again


def settled(values: Float64Array) -> Float64Array:
    """Values with 36 bits kept: equal numbers that were summed in another order are equal again.

    The last bits of a sum depend on the order of its terms. Without them a tie is a tie, and goes to the earlier row
    whatever the order in which the updates arrived.

    >>> import numpy as np
    >>> bool(np.diff(settled(np.array([0.1 + 0.2, 0.3])))[0] == 0)
    True
    """
    mantissa, exponent = np.frexp(values)
    result: Float64Array = np.ldexp(np.round(np.ldexp(mantissa, 36)), exponent - 36)
    return result


def smallest(scores: Float64Array, count: int) -> Indices:
    """Indices, ascending, of the ``count`` smallest scores; equal scores go to the earlier row.

    >>> import numpy as np
    >>> smallest(np.array([3.0, 1.0, 3.0, 2.0]), 3).tolist()
    [0, 1, 3]
    """
    return np.sort(np.argsort(settled(scores), kind="stable")[:count])


def choose(quick: Float64Array | None, exact: Callable[[], Float64Array], count: int) -> Indices:
    """The same from quick scores, with ``exact`` asked only when their digits do not settle the choice.

    Args:
        quick: ``(n,)`` scores to ``QUICK_ERROR`` of their size, or None.
        exact: gives the scores in float64.
        count: how many are chosen.

    >>> import numpy as np
    >>> choose(np.array([1.0, 2.0, 1.0000001]), lambda: np.array([1.0, 2.0, 0.9999999]), 1).tolist()
    [2]
    """
    if quick is not None:
        order = np.argsort(quick, kind="stable")
        if count >= len(quick) or quick[order[count]] - quick[order[count - 1]] > _MARGIN * quick[order[count]]:
            return np.sort(order[:count])
    return smallest(exact(), count)


def nearest(products: Products, keep: int) -> npt.NDArray[np.bool_]:
    """``(n, n)``: in each row i the ``keep`` rows nearest to row i, itself first; ties go to the earlier row.

    Decided on quick distances; rows that lie so close to the edge of a neighbourhood that these do not settle it are
    compared once more in float64.

    >>> import numpy as np
    >>> from skerry.strategies.products import RowProducts
    >>> nearest(RowProducts(np.array([[0.0], [1.0], [3.0]], np.float32), rule="nnm"), 2).astype(int).tolist()
    [[1, 1, 0], [1, 1, 0], [0, 1, 1]]
    """
    quick = products.quick_distances
    n = products.count
    if quick is not None and keep < n:
        ranked = quick.copy()
        np.fill_diagonal(ranked, -1.0)  # before any twin at distance zero
        edges = np.partition(ranked, (keep - 1, keep), axis=1)
        last, first_out = edges[:, keep - 1, None], edges[:, keep, None]
        open_rows = first_out - last <= _MARGIN * first_out
        inside = ranked <= last
        near = open_rows & (np.abs(ranked - last) <= 2 * _MARGIN * first_out) & (ranked >= 0)
        pairs = np.argwhere(near)
        if len(pairs) <= n:
            if len(pairs):
                ranked[near] = products.pair_distances(pairs)
                for row in np.flatnonzero(open_rows):
                    among = np.flatnonzero(near[row])
                    sure = (ranked[row] < last[row]) & ~near[row]
                    wanted = keep - int(sure.sum())
                    inside[row] = sure
                    inside[row, among[smallest(ranked[row, among], wanted)]] = True
            return inside
    return nearest_rows(products.distances, keep)


def nearest_rows(distances: Float64Array, keep: int) -> npt.NDArray[np.bool_]:
    """The same from distances in float64.

    >>> nearest_rows(np.array([[0.0, 1.0, 9.0], [1.0, 0.0, 4.0], [9.0, 4.0, 0.0]]), 2).astype(int).tolist()
    [[1, 1, 0], [1, 1, 0], [0, 1, 1]]
    """
    ranked = settled(distances)
    np.fill_diagonal(ranked, -1.0)  # before any twin at distance zero
    inside = np.zeros(distances.shape, np.bool_)
    np.put_along_axis(inside, np.argsort(ranked, axis=1, kind="stable")[:, :keep], values=True, axis=1)
    return inside


def choose_by_distances(products: Products, score: Callable[[Float64Array], Float64Array], count: int) -> Indices:
    """Rows with the smallest scores, where a score is a sum of squared distances.

    >>> import numpy as np
    >>> from skerry.strategies.products import RowProducts
    >>> products = RowProducts(np.array([[1.0], [2.0], [9.0]], np.float32), rule="krum")
    >>> choose_by_distances(products, lambda distances: distances.sum(axis=1), 1).tolist()
    [1]
    """
    quick = products.quick_distances
    return choose(None if quick is None else score(quick), lambda: score(products.distances), count)
