"""Steps before a rule, as in ``nnm+trimmed_mean``: together they are a rule again."""

from collections.abc import Sequence
from dataclasses import dataclass

from skerry.records import Float32Array
from skerry.strategies.aggregating import AggregationRule, Step, aggregate
from skerry.strategies.rows import require_form

__all__ = ["Composed"]


@dataclass(frozen=True)
class Composed:
    """The rows go through the steps in their order, what comes out through the rule.

    The Gram matrix is computed once; each step transforms it by its own matrix.

    Args:
        before: steps, first to last.
        then: the rule.

    >>> import numpy as np
    >>> from skerry.strategies import Clipping, Mean
    >>> Composed((Clipping(1.0),), Mean())(np.array([[0.5], [100.0]], np.float32)).tolist()
    [0.75]
    """

    before: tuple[Step, ...]
    then: AggregationRule

    @property
    def name(self) -> str:
        """The steps' names and the rule's, joined by ``+``."""
        return "+".join([*(step.name for step in self.before), self.then.name])

    @property
    def steps(self) -> Sequence[Step]:
        """The steps before the rule and the rule's own."""
        return (*self.before, *self.then.steps)

    @property
    def bound(self) -> str:
        """Where :meth:`minimum` comes from, and whose bound it is."""
        return self._narrowest()[1]

    def minimum(self) -> int:
        """Enough rows for every step and, after all of them, for the rule."""
        return self._narrowest()[0]

    def _narrowest(self) -> tuple[int, str]:
        need, why = self.then.minimum(), f"{self.then.bound} for {self.then.name}"
        for step in reversed(self.before):
            need = step.needed(need)
            if step.minimum() > need:
                need, why = step.minimum(), f"{step.bound} for {step.name}"
        return need, why

    def __call__(self, deltas: Float32Array) -> Float32Array:
        """``(n, d)`` float32 deltas to a new ``(d,)`` float32 vector.

        Raises:
            AggregationError: fewer than :meth:`minimum` rows, or rows that are not finite.
        """
        require_form(deltas, rule=self.name, minimum=self.minimum(), bound=self.bound)
        return aggregate(self.then, self.steps, deltas, name=self.name)
