"""What a rule in Gram space may ask about the updates: lengths, inner products, distances; never the updates."""

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array
from skerry.strategies.gram import (
    distances_to,
    gram,
    pair_distances,
    quick_distances_to,
    quick_gram,
    row_products,
    row_squares,
    squared_distances,
)
from skerry.strategies.rows import refuse_not_finite

__all__ = ["MixedProducts", "Products", "RowProducts", "joined", "mix"]

Float64Array = npt.NDArray[np.float64]


class Products(ABC):
    """Inner products of ``count`` rows, and what follows from them; squared lengths and distances are never
    negative.
    """

    count: int

    @property
    @abstractmethod
    def gram(self) -> Float64Array:
        """``(n, n)`` inner products in float64."""

    @abstractmethod
    def against(self, vector: Float32Array) -> Float64Array:
        """``(n,)`` inner products with a vector of the caller's, in float64."""

    @property
    def squares(self) -> Float64Array:
        """``(n,)`` squared lengths."""
        squares: Float64Array = np.maximum(np.diagonal(self.gram), 0.0)
        return squares

    @cached_property
    def distances(self) -> Float64Array:
        """``(n, n)`` squared distances in float64."""
        return squared_distances(self.gram)

    def distances_to(self, index: int) -> Float64Array:
        """``(n,)`` squared distances to one row."""
        distances: Float64Array = self.distances[index]
        return distances

    @property
    def quick_gram(self) -> Float64Array | None:
        """:attr:`gram` such that distances have ``QUICK_ERROR``, or None if there is no quick way to it."""
        return None

    @cached_property
    def quick_distances(self) -> Float64Array | None:
        """:attr:`distances` to ``QUICK_ERROR`` of their size, or None if there is no quick way to them."""
        return None if self.quick_gram is None else squared_distances(self.quick_gram)

    def pair_distances(self, pairs: npt.NDArray[np.intp]) -> Float64Array:
        """``(p,)`` squared distances between ``(p, 2)`` pairs of rows, in float64."""
        distances: Float64Array = self.distances[pairs[:, 0], pairs[:, 1]]
        return distances

    def quick_distances_to(self, index: int) -> Float64Array | None:  # noqa: ARG002 - for those who have one
        """:meth:`distances_to` to ``QUICK_ERROR`` of their size, or None if there is no quick way to them."""
        return None


class MixedProducts(Products):
    """Products of the rows ``M·X``, from those of the rows X.

    Args:
        mixing: M, ``(m, n)`` float64, or its diagonal, ``(n,)``.
        source: products of the n rows.

    >>> import numpy as np
    >>> source = RowProducts(np.array([[1.0, 2.0], [0.0, 3.0]], np.float32), rule="mean")
    >>> MixedProducts(np.array([[0.5, 0.5]]), source).squares.tolist()
    [6.5]
    """

    def __init__(self, mixing: Float64Array, source: Products) -> None:
        self._mixing, self._source = mixing, source
        self.count = len(mixing)

    @cached_property
    def gram(self) -> Float64Array:
        """``(m, m)``: M·G·Mᵀ."""
        return mix(self._mixing, mix(self._mixing, self._source.gram).T)

    @property
    def squares(self) -> Float64Array:
        """``(m,)`` squared lengths; factors alone need no Gram matrix."""
        if self._mixing.ndim == 1:
            return self._mixing**2 * self._source.squares
        return super().squares

    def against(self, vector: Float32Array) -> Float64Array:
        """``(m,)``: M times the products of the rows."""
        return mix(self._mixing, self._source.against(vector))


def joined(second: Float64Array, first: Float64Array) -> Float64Array:
    """One matrix, or diagonal, for two steps.

    >>> joined(np.array([2.0, 3.0]), np.array([[1.0, 1.0], [0.0, 1.0]])).tolist()
    [[2.0, 2.0], [0.0, 3.0]]
    """
    return second * first if first.ndim == 1 else mix(second, first)


def mix(mixing: Float64Array, values: Float64Array) -> Float64Array:
    """``M·V`` for a matrix M, or for the diagonal of one.

    >>> mix(np.array([2.0, 3.0]), np.array([[1.0, 1.0], [1.0, 1.0]])).tolist()
    [[2.0, 2.0], [3.0, 3.0]]
    """
    mixed: Float64Array = mixing @ values if mixing.ndim == 2 else (mixing * values.T).T
    return mixed


class RowProducts(Products):
    """Products computed from the rows when they are first asked for, each in one pass; remembered.

    The first look at any of them finds rows that are not finite: that costs no pass of its own.

    Args:
        rows: ``(n, d)`` float32; not changed, not copied.
        rule: name for the message.
        gram: ``(n, n)`` float64, where it was kept up while updates arrived; finite.
        order: which rows, in which order, the Gram matrix is of; None for all as they lie.
        quick: whether float32 may be asked first; not worth it where :attr:`gram` is needed later all the same.

    >>> import numpy as np
    >>> products = RowProducts(np.array([[1.0, 2.0], [0.0, 3.0]], np.float32), rule="krum")
    >>> products.distances_to(0).tolist()
    [0.0, 2.0]
    """

    def __init__(
        self,
        rows: Float32Array,
        *,
        rule: str,
        gram: Float64Array | None = None,
        order: npt.NDArray[np.intp] | None = None,
        quick: bool = True,
    ) -> None:
        self._quick = quick and gram is None
        self._rows, self._rule, self._known, self._order = rows, rule, gram, order
        self.count = len(rows) if order is None else len(order)
        self._finite = gram is not None

    def ensure_finite(self) -> None:
        """Refuse rows that are not finite, unless an earlier question has already seen that all are.

        Raises:
            AggregationError: some rows are not finite.
        """
        if not self._finite:
            refuse_not_finite(self._rows, rule=self._rule)
            self._finite = True

    def _seen(self, squares: Float64Array) -> None:
        if not np.isfinite(squares).all():
            self.ensure_finite()
        self._finite = True

    @cached_property
    def gram(self) -> Float64Array:
        """``(n, n)`` inner products in float64."""
        if self._known is not None:
            return self._known
        found = gram(self._rows)
        self._seen(np.diagonal(found))
        return found

    @cached_property
    def squares(self) -> Float64Array:
        """``(n,)`` squared lengths, to 10⁻⁶ of their size."""
        known = self._known if self._known is not None else self.__dict__.get("gram", self.__dict__.get("quick_gram"))
        if known is not None:
            return np.diagonal(known)
        squares = row_squares(self._rows)
        self._seen(squares)
        return squares

    @cached_property
    def quick_gram(self) -> Float64Array | None:
        """``(n, n)`` inner products from float32, unless those in float64 are known or float32 is not good enough."""
        if not self._quick or "gram" in self.__dict__:
            return None
        found = quick_gram(self._rows)
        self._finite = self._finite or found is not None
        return found

    def quick_distances_to(self, index: int) -> Float64Array | None:
        """``(n,)`` squared distances to one row to ``QUICK_ERROR`` of their size, or None if float32 cannot."""
        if not self._quick:
            return None
        found = quick_distances_to(self._rows, index)
        self._finite = self._finite or found is not None
        return found

    def distances_to(self, index: int) -> Float64Array:
        """``(n,)`` squared distances to one row, from differences in float64."""
        if self._known is not None:
            return super().distances_to(index)
        self.ensure_finite()
        return distances_to(self._rows, index)

    def pair_distances(self, pairs: npt.NDArray[np.intp]) -> Float64Array:
        """``(p,)`` squared distances between ``(p, 2)`` pairs of rows, in float64."""
        if self._known is not None or "gram" in self.__dict__:
            return super().pair_distances(pairs)
        self.ensure_finite()
        return pair_distances(self._rows, pairs)

    def against(self, vector: Float32Array) -> Float64Array:
        """``(n,)`` inner products with a vector of the caller's, in float64."""
        self.ensure_finite()
        products = row_products(self._rows, vector)
        return products if self._order is None else products[self._order]
