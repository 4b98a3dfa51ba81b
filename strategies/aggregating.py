"""How every rule turns a matrix of deltas into one delta. Three kinds of parts, and one way through them.

1. *Steps* before a rule mix rows: each is a matrix M, found from the Gram matrix alone; rows become ``M·X``, their Gram
   matrix ``M·G·Mᵀ``. Mixed rows never exist as a whole.
2. A rule *in Gram space* (:class:`WeighingRule`) finds a weight for each row from the Gram matrix; the result is
   ``Σ w_i x_i``, one more pass over the data.
3. A *coordinate-wise* rule (:class:`SortedRule`) is a function of each coordinate's values in ascending order; it
   sees a cache-sized block of columns at a time.

In every case: the form and the number of rows are checked first; no result comes from rows that are not finite; the
input is never changed or copied; there is no argument for a weight.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array
from skerry.strategies.columns import sorted_columns
from skerry.strategies.products import MixedProducts, Products, RowProducts, joined, mix
from skerry.strategies.rows import require_form
from skerry.strategies.selection import KERNEL, MOST_ROWS, Kernel, middle_means
from skerry.strategies.weighted import to_float32, weighted_sum

__all__ = ["AggregationRule", "SortedRule", "Step", "WeighingRule", "aggregate"]

Float64Array = npt.NDArray[np.float64]


class Step(Protocol):
    """A pre-aggregation: mixes n rows into m rows, by a matrix that depends on their inner products alone."""

    @property
    def name(self) -> str:
        """As a scenario writes it."""

    @property
    def bound(self) -> str:
        """Where :meth:`minimum` comes from, in the field's letters."""

    def minimum(self) -> int:
        """Rows below which the step refuses to work."""

    def needed(self, count: int) -> int:
        """Rows that must go in for ``count`` rows to come out."""

    def matrix(self, products: Products) -> Float64Array:
        """``(m, n)`` float64; the diagonal alone, ``(n,)``, where each row keeps to itself."""


class AggregationRule(ABC):
    """What all rules share; see :class:`~skerry.strategies.rule.Rule` for what they promise."""

    bound: ClassVar[str] = "1"

    @property
    @abstractmethod
    def name(self) -> str:
        """As a scenario writes it."""

    @property
    def steps(self) -> Sequence[Step]:
        """Steps that belong to the rule."""
        return ()

    @abstractmethod
    def minimum(self) -> int:
        """Rows below which the rule refuses to work."""

    def __call__(self, deltas: Float32Array) -> Float32Array:
        """``(n, d)`` float32 deltas to a new ``(d,)`` float32 vector.

        Raises:
            AggregationError: fewer than :meth:`minimum` rows, or rows that are not finite.
        """
        require_form(deltas, rule=self.name, minimum=self.minimum(), bound=self.bound)
        return aggregate(self, self.steps, deltas)


class WeighingRule(AggregationRule):
    """A rule whose result is a weighted sum of the rows."""

    exact_sum: ClassVar[bool] = False

    @property
    def anchor(self) -> Float32Array | None:
        """``(d,)``: what ``1 - Σ w_i`` of the result is; None for zero."""
        return None

    @abstractmethod
    def weights(self, products: Products) -> Float64Array:
        """``(n,)`` float64."""


class SortedRule(AggregationRule):
    """A rule that treats each coordinate alone and looks at the sorted values."""

    def middle(self, count: int) -> slice | None:  # noqa: ARG002 - for rules that do have a middle
        """Of ``count`` sorted values the ranks, from 0, whose mean is the result; None for a rule that asks for more.

        Where the selection kernel was compiled it then takes the place of :meth:`of_sorted`.
        """
        return None

    @abstractmethod
    def of_sorted(self, block: Float32Array) -> Float32Array:
        """``(c, n)`` float32, ascending along each line, may be overwritten; to ``(c,)`` float32."""


def aggregate(
    rule: AggregationRule,
    steps: Sequence[Step],
    rows: Float32Array,
    products: RowProducts | None = None,
    order: npt.NDArray[np.intp] | None = None,
    name: str | None = None,
    kernel: Kernel | None = KERNEL,
) -> Float32Array:
    """The steps in their order, then the rule.

    Args:
        rule: what ends the work.
        steps: what is mixed before.
        rows: ``(n, d)`` float32, of the form and number that were checked; not changed.
        products: those of the rows, if they are known already.
        order: which rows, in which order, the products are of; None for all as they lie.
        name: for messages; None for the rule's.
        kernel: the compiled selection; None for numpy's sort.

    Raises:
        AggregationError: rows that are not finite.

    >>> from skerry.strategies.trimmed_mean import TrimmedMean
    >>> aggregate(TrimmedMean(1), (), np.array([[1.0], [2.0], [1e9]], np.float32)).tolist()
    [2.0]
    """
    # What is mixed once more, or weighed after mixing, needs inner products in float64: then nothing is quicker.
    quick = len(steps) <= isinstance(rule, SortedRule)
    given = RowProducts(rows, rule=name or rule.name, quick=quick) if products is None else products
    current: Products = given
    mixing: Float64Array | None = None
    for step in steps:
        matrix = step.matrix(current)
        current = MixedProducts(matrix, current)
        mixing = matrix if mixing is None else joined(matrix, mixing)
    if isinstance(rule, WeighingRule):
        weights = rule.weights(current)
        given.ensure_finite()
        used = weights if mixing is None else mix(mixing.T, weights)
        if order is not None:
            used = _where_they_lie(used, order, len(rows))
        result = weighted_sum(rows, used, exact=rule.exact_sum and mixing is None)
        if rule.anchor is not None:
            result = to_float32(result + (1.0 - weights.sum()) * rule.anchor.astype(np.float64))
        return result
    assert isinstance(rule, SortedRule)
    if mixing is not None:
        given.ensure_finite()  # a step that did not look at the rows may have mixed what is not finite into others
    if order is not None and mixing is not None and (mixing.ndim == 2 or len(order) == len(rows)):
        mixing, order = _where_they_lie(mixing, order, len(rows)), None
    elif order is not None and mixing is None and len(order) == len(rows):
        order = None  # sorted values know no order
    count = len(rows if order is None else order)
    ranks = rule.middle(count)
    if kernel is not None and mixing is None and ranks is not None and count <= MOST_ROWS:
        return middle_means(kernel, rows, order, ranks, rule=name or rule.name)
    result = np.empty(rows.shape[1], np.float32)
    for part, block in sorted_columns(rows, mixing, order, rule=name or rule.name):
        result[part] = rule.of_sorted(block)
    return result


def _where_they_lie(weights: Float64Array, order: npt.NDArray[np.intp], count: int) -> Float64Array:
    """Weights, in the last axis, of all ``count`` rows as they lie; zero for rows that are left out."""
    there = np.zeros((*weights.shape[:-1], count))
    there[..., order] = weights
    return there
