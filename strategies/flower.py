"""The rules in anybody's Flower app: a ``flwr.serverapp.strategy.Strategy`` that needs nothing else of skerry.

A round, in this order:

1. *ask*       whom Flower's own ``FedAvg`` (or a strategy of yours) samples; the model that is sent is remembered
2. *check*     each reply by itself: an error, another model, a number that is not finite costs that node its place
3. *subtract*  the model that was sent: rows are deltas in float32, sorted by node id
4. *aggregate* by the rule; what nodes say of their number of examples has no influence
5. *add*       the result to the model that was sent, in each array's own type

A round with fewer good replies than the rule needs leaves the model as it is, and the log says why.
"""

import logging
from collections.abc import Iterable, Mapping
from io import BytesIO
from math import isfinite
from statistics import median
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy

from skerry.errors import AggregationError, InputError
from skerry.records import Float32Array
from skerry.strategies.rule import Rule, parse_rule

__all__ = ["RobustStrategy"]

_LOG = logging.getLogger(__name__)


class RobustStrategy(Strategy):
    """Federated averaging with a robust rule in the place of the weighted mean.

    Nodes answer as they do to Flower's ``FedAvg``: the trained model as the only ``ArrayRecord``, metrics if they like.

    Guarantees: a node's reply counts once or not at all; a reply that is wrong in any way is dropped with a reason in
    the log and never stops the round; ``num-examples`` is not looked at; arrays are read without pickle and without
    trusting their headers. Metrics are medians over nodes, of those that more than half of them send as a finite
    number.

    Assumes that Flower says truly which node sent a reply; run SuperLink with node authentication.

    Args:
        rule: as in a scenario (``"nnm+trimmed_mean"``), or an object of :mod:`skerry.strategies`.
        tolerate: f, nodes that may be hostile; for a rule given as text.
        sampling: whom to ask and how often to evaluate; None for ``FedAvg()``, all nodes.

    Raises:
        ScenarioError: no such rule.

    >>> strategy = RobustStrategy("multi_krum", tolerate=1, sampling=FedAvg(fraction_train=0.5))
    >>> strategy.minimum
    5
    """

    def __init__(self, rule: str | Rule, *, tolerate: int = 0, sampling: FedAvg | None = None) -> None:
        self._rule, self._tolerate = rule, tolerate
        self._sampling = FedAvg() if sampling is None else sampling
        self.minimum = self._rule_of(1).minimum()
        self._sent: Mapping[str, np.ndarray[Any, Any]] = {}
        self._asked: set[int] = set()
        self._evaluating: set[int] = set()

    def _rule_of(self, server_round: int) -> Rule:
        if isinstance(self._rule, str):
            return parse_rule(self._rule, tolerate=self._tolerate, seed=server_round)
        return self._rule

    def summary(self) -> None:
        """Say in the log what is about to run."""
        _LOG.info("aggregation by %s, at least %d replies a round", self._rule_of(1).name, self.minimum)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask the sampled nodes, and remember what they were sent.

        Raises:
            InputError: the model has an array that is neither of floats nor of integers.
        """
        self._sent = {name: array.numpy() for name, array in arrays.items()}
        for name, array in self._sent.items():
            if array.dtype.kind not in "fiu":
                raise InputError(f"array {name!r} is of {array.dtype}, which cannot be aggregated", where=name)
        messages = list(self._sampling.configure_train(server_round, arrays, config, grid))
        self._asked = {message.metadata.dst_node_id for message in messages}
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """One robust step from the model that was sent, or None where too few replies are good."""
        place = {node: index for index, node in enumerate(sorted(self._asked))}  # whatever the order of arrival
        rows = np.empty((len(place), sum(array.size for array in self._sent.values())), np.float32)
        good: dict[int, Message] = {}
        refused = 0
        for reply in replies:
            node = reply.metadata.src_node_id
            try:
                if node not in place or node in good:
                    raise ValueError("has answered already" if node in good else "was not asked")
                self._read_delta(reply, rows[place[node]])
                good[node] = reply
            except Exception as error:  # noqa: BLE001 - one bad reply costs that node its place, never the round
                refused += 1
                _LOG.warning("round %d: node %d left out: %s", server_round, node, error)
        for index, node in enumerate(sorted(good)):  # close the gaps, from the first on
            if index != place[node]:
                rows[index] = rows[place[node]]
        rows = rows[: len(good)]
        metrics = _medians(good.values())
        metrics["replies-used"], metrics["replies-refused"] = len(good), refused
        try:
            step = self._rule_of(server_round)(rows)
        except AggregationError as error:
            _LOG.warning("round %d: the model stays: %s", server_round, error)
            return None, metrics
        return self._moved(step), metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """As the sampling strategy does; who was asked is remembered."""
        messages = list(self._sampling.configure_evaluate(server_round, arrays, config, grid))
        self._evaluating = {message.metadata.dst_node_id for message in messages}
        return messages

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Medians over the nodes that were asked and answered without an error, each by its first answer."""
        del server_round
        good: dict[int, Message] = {}
        for reply in replies:
            node = reply.metadata.src_node_id
            if node in self._evaluating and not reply.has_error():
                good.setdefault(node, reply)
        return _medians(good.values()) if good else None

    def _read_delta(self, reply: Message, row: Float32Array) -> None:
        """Write what the node changed into its ``(d,)`` row.

        Raises:
            ValueError: an error, another form than what was sent, or a change that is not finite.
        """
        if reply.has_error():
            raise ValueError(f"its app failed: {reply.error.reason}")
        records = list(reply.content.array_records.values())
        if len(records) != 1 or set(records[0]) != set(self._sent):
            raise ValueError("its arrays are not those that it was sent")
        start = 0
        for name, sent in self._sent.items():
            there = _read(records[0][name], sent)
            with np.errstate(over="ignore", invalid="ignore"):
                row[start : start + sent.size] = (there.astype(np.float64) - sent).ravel()
            start += sent.size
        if not np.isfinite(row).all():
            raise ValueError("its change of the model is not finite")

    def _moved(self, step: Float32Array) -> ArrayRecord:
        moved, start = {}, 0
        for name, sent in self._sent.items():
            change = step[start : start + sent.size].reshape(sent.shape)
            start += sent.size
            there = sent.astype(np.float64) + change
            if sent.dtype.kind in "iu":
                there = np.clip(np.rint(there), np.iinfo(sent.dtype).min, np.iinfo(sent.dtype).max)
            moved[name] = Array(np.asarray(there, sent.dtype))
        return ArrayRecord(moved)


def _read(array: Array, like: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array in numpy's file format, of the form that is expected and of no other.

    ``np.load`` would allocate what a header of the sender's asks for; here nothing is allocated before the form is
    known to be right.

    Raises:
        ValueError: another serialization, type, shape or length.
    """
    if array.stype != "numpy.ndarray":
        raise ValueError(f"serialization {array.stype!r} is not numpy's")
    stream = BytesIO(array.data)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, columns_first, kind = read(stream)
    if shape != like.shape or kind != like.dtype:
        raise ValueError(f"an array is {kind} of shape {shape}, not {like.dtype} of shape {like.shape}")
    values = np.frombuffer(array.data, kind, offset=stream.tell())
    if values.size != like.size:
        raise ValueError("an array is not as long as it says")
    return values.reshape(shape, order="F" if columns_first else "C")


def _medians(replies: Iterable[Message]) -> MetricRecord:
    """Each metric's median over the nodes, where more than half of them send it as a finite number."""
    found: dict[str, list[float]] = {}
    count = 0
    for reply in replies:
        count += 1
        said: dict[str, float] = {}
        for record in reply.content.metric_records.values():
            said.update({key: float(v) for key, v in record.items() if isinstance(v, int | float)})
        for key, value in said.items():
            if isfinite(value):
                found.setdefault(key, []).append(value)
    return MetricRecord({key: float(median(values)) for key, values in found.items() if 2 * len(values) > count})
