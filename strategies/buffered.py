"""Buffered asynchronous aggregation: FedBuff, with any rule of ours over the buffer.

Nguyen et al. 2022, "Federated learning with buffered asynchronous aggregation" (arXiv:2106.06639), algorithm 1: devices
work at their own pace, each from the newest vector when it began; when K updates are there, the server makes a step by
``(1/K) Σ s(τ_i)·Δ_i`` and goes on. τ is an update's staleness, the number of steps made since it began.

Here the updates are scaled first and a rule then has the whole buffer, so with ``mean`` it is that sum, and a robust
rule keeps what it promises about rows: f hostile updates among K. What a device can gain by being late is less weight;
it cannot claim to be fresher than it is, since the server knows which version it was sent.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from skerry.errors import AggregationError, InputError
from skerry.records import Float32Array
from skerry.strategies.rule import Rule

__all__ = ["BufferedRule", "Turns", "staleness_weights"]

Staleness = npt.NDArray[np.int64]


def staleness_weights(staleness: Staleness, exponent: float) -> Float32Array:
    """``(1 + τ)^-a`` of each update: 1 for a fresh one, never more (section 3 of the paper, with a = 1/2).

    Args:
        staleness: ``(n,)`` steps, at least 0.
        exponent: a, at least 0; 0 weighs all alike.

    Raises:
        InputError: a staleness or the exponent is negative or not finite.

    >>> staleness_weights(np.array([0, 3]), 0.5).tolist()
    [1.0, 0.5]
    """
    if not 0 <= exponent < float("inf") or (len(staleness) and int(staleness.min()) < 0):
        raise InputError(f"staleness and its exponent are at least 0, got {exponent} and {staleness.tolist()}")
    return ((1.0 + staleness.astype(np.float64)) ** -exponent).astype(np.float32)


@dataclass(frozen=True)
class BufferedRule:
    """A rule over a buffer of updates of different age.

    Attributes:
        rule: over the scaled updates.
        exponent: a of :func:`staleness_weights`.

    >>> from skerry.strategies.mean import Mean
    >>> deltas = np.array([[2.0], [2.0]], np.float32)
    >>> BufferedRule(Mean(), 0.5)(deltas, np.array([0, 3])).tolist()
    [1.5]
    """

    rule: Rule
    exponent: float = 0.5

    def __call__(self, deltas: Float32Array, staleness: Staleness) -> Float32Array:
        """``(n, d)`` updates and ``(n,)`` steps to a new ``(d,)`` vector; neither is changed.

        Raises:
            AggregationError: not one number a row, or what the rule refuses.
        """
        if staleness.shape != deltas.shape[:1]:
            raise AggregationError(f"{len(deltas)} updates with {len(staleness)} numbers of staleness")
        return self.rule(deltas * staleness_weights(staleness, self.exponent)[:, None])


@dataclass
class Turns:
    """Which steps each device's updates go into, and whether it may be asked: the participation that privacy counts on.

    Guarantee: no device's updates enter two steps fewer than ``separation`` apart, nor is it asked more than ``most``
    times, however late it answers: between the step that an answer entered, or a question that was not answered, and
    the next question there are ``separation`` steps, and an answer enters no step before its question. With correlated
    noise that is the schema of its strategy (``min_separation`` in :mod:`skerry.security.privacy.factorisation`); with
    independent noise and ``separation`` 1 it is at most one update of a device in each step. A device's own ledger,
    which counts the steps for which it was asked, never sees two that are nearer.

    Attributes:
        separation: b; of any b steps that follow each other a device's updates enter at most one.
        most: how often a device is asked, at most; 0 for any number.
    """

    separation: int = 1
    most: int = 0
    _last: dict[str, int] = field(default_factory=dict)
    _count: dict[str, int] = field(default_factory=dict)
    _working: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.separation < 1 or self.most < 0:
            raise InputError(f"turns are at least 1 step apart, got {self.separation}, at most {self.most}")

    @staticmethod
    def resumed(separation: int, most: int, told: Mapping[str, tuple[int, int]], working: Iterable[str]) -> "Turns":
        """As they were when :meth:`told` told them, with these devices at work."""
        turns = Turns(separation, most)
        turns._last |= {device: last for device, (last, _) in told.items()}
        turns._count |= {device: count for device, (_, count) in told.items()}
        turns._working |= set(working)
        return turns

    def told(self) -> dict[str, tuple[int, int]]:
        """Of each device that was ever asked the step that it took part in last, and how often it was asked."""
        return {device: (last, self._count[device]) for device, last in self._last.items()}

    def may_begin(self, device: str, step: int) -> bool:
        """Whether a device may be asked for ``step``, the next one; its answer may enter that one or a later one."""
        rested = step - self._last.get(device, step - self.separation) >= self.separation
        return rested and device not in self._working and not (self.most and self._count.get(device, 0) >= self.most)

    def begin(self, device: str, step: int) -> None:
        """A device is asked.

        Raises:
            InputError: it may not be.
        """
        if not self.may_begin(device, step):
            raise InputError(f"{device} may not be asked for step {step}: its turns are {self.separation} steps apart")
        self._working.add(device)
        self._last[device], self._count[device] = step, self._count.get(device, 0) + 1

    def end(self, device: str) -> None:
        """A device is waited for no more: its answer will enter no step."""
        self._working.discard(device)

    def enter(self, device: str, step: int) -> None:
        """A device's answer goes into a step: it has then taken part in it, whatever the answer is.

        Raises:
            InputError: it is not waited for, or was asked for a later step.
        """
        if device not in self._working or step < self._last[device]:
            raise InputError(f"{device} was not asked for step {step}: its answer may not enter it")
        self._working.discard(device)
        self._last[device] = step

    def rest(self, device: str, steps: int) -> None:
        """A device that took part is asked so many steps later than it would be: as if it had taken part then."""
        self._last[device] += steps
