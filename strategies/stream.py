"""Updates as they arrive: their inner products are ready when the last one is."""

import numpy as np

from skerry.errors import AggregationError
from skerry.records import Float32Array
from skerry.strategies.aggregating import AggregationRule, SortedRule, aggregate
from skerry.strategies.composed import Composed
from skerry.strategies.products import RowProducts
from skerry.strategies.rows import require_form

__all__ = ["UpdateStream"]

_BLOCK = 1024  # columns
_TOGETHER = 4  # updates whose products are computed in one pass over the rows


class UpdateStream:
    """The matrix of a round's deltas, filled row by row, with its Gram matrix kept up in float64.

    While devices are still at work the coordinator has nothing to do; the n²d multiplications of a Gram matrix fit
    there. After the last arrival at most four rows' products, the rule's own n×n algebra and one pass for the result
    are left. The products of four updates are computed in one pass, so the whole costs about four times the time of
    one Gram matrix at the end, spread over the round.

    Rows lie in the order of arrival; rules see them in the order of device ids, so the result does not depend on when
    whose update came (up to the last bits of sums in float64).

    Args:
        capacity: most updates that can come.
        size: d.

    >>> from skerry.strategies import Median, MultiKrum
    >>> stream = UpdateStream(capacity=8, size=1)
    >>> for device, value in {"e": 1e9, "b": 1.25, "d": 2.25, "a": 1.0, "c": 1.5}.items():
    ...     stream.add(device, np.array([value], np.float32))
    >>> stream.aggregate(MultiKrum(tolerate=1)).tolist(), stream.aggregate(Median(), leave_out={"e", "d"}).tolist()
    ([1.5], [1.25])
    """

    def __init__(self, capacity: int, size: int) -> None:
        self._rows = np.empty((capacity, size), np.float32)  # pages are not touched before a row is written
        self._gram = np.zeros((capacity, capacity))
        self._slots: dict[str, int] = {}
        self._done = 0  # rows whose products with all before them are known

    @property
    def devices(self) -> list[str]:
        """Whose updates are there, in order of device ids."""
        return sorted(self._slots)

    def add(self, device: str, delta: Float32Array) -> None:
        """Take an update in; it is copied.

        Raises:
            AggregationError: another form than ``(d,)`` float32, not finite, the device's second, or one too many.
        """
        if device in self._slots:
            raise AggregationError("this device's update is there already", where=device)
        if len(self._slots) == len(self._rows):
            raise AggregationError(f"only {len(self._rows)} updates were to come", where=device)
        if not isinstance(delta, np.ndarray) or delta.dtype != np.float32 or delta.shape != self._rows.shape[1:]:
            raise AggregationError(f"an update is a float32 vector of length {self._rows.shape[1]}", where=device)
        if not np.isfinite(delta).all():
            raise AggregationError("the update is not finite", where=device, mend="drop it before aggregating")
        self._rows[len(self._slots)] = delta
        self._slots[device] = len(self._slots)
        if len(self._slots) - self._done >= _TOGETHER:
            self._catch_up()

    def aggregate(
        self, rule: AggregationRule | Composed, *, leave_out: frozenset[str] | set[str] = frozenset()
    ) -> Float32Array:
        """``(d,)`` the rule's result on the updates that are there.

        Args:
            rule: of this package.
            leave_out: devices that a screen has dropped.

        Raises:
            AggregationError: fewer updates than the rule needs.
        """
        order = np.array([self._slots[device] for device in self.devices if device not in leave_out], np.intp)
        steps, last = (rule.steps, rule.then) if isinstance(rule, Composed) else (rule.steps, rule)
        require_form(self._rows[: len(order)], rule=rule.name, minimum=rule.minimum(), bound=rule.bound)
        filled = self._rows[: len(self._slots)]
        if not steps and isinstance(last, SortedRule):  # needs no products
            return aggregate(last, steps, filled, None, order)
        self._catch_up()
        gram = self._gram[np.ix_(order, order)]
        return aggregate(last, steps, filled, RowProducts(filled, rule=rule.name, gram=gram, order=order), order)

    def _catch_up(self) -> None:
        """The products of the rows that came since the last time, with all rows."""
        first, stop = self._done, len(self._slots)
        if first == stop:
            return
        found = np.zeros((stop, stop - first))
        buffer = np.empty((stop, _BLOCK))
        for start in range(0, self._rows.shape[1], _BLOCK):
            part = self._rows[:stop, start : start + _BLOCK]
            block = buffer[:, : part.shape[1]]
            np.copyto(block, part)
            found += block @ block[first:].T
        among = found[first:]
        found[first:] = 0.5 * (among + among.T)  # the last bits of the two sums may differ
        self._gram[:stop, first:stop] = found
        self._gram[first:stop, :stop] = found.T
        self._done = stop
