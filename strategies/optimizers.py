"""How the coordinator moves the model by an aggregated delta.

All of them read released values alone (the model, the aggregate, and what they made of earlier ones), so none costs
privacy: a guarantee on the aggregates of all rounds is one on everything here (post-processing).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from math import isfinite
from typing import Protocol

import numpy as np
import numpy.typing as npt

from skerry.errors import AggregationError, ScenarioError
from skerry.records import Float32Array

_Float64Array = npt.NDArray[np.float64]

__all__ = ["FedAdagrad", "FedAdam", "FedAvg", "FedAvgM", "FedYogi", "Moments", "ServerOptimizer", "named_optimizer"]


def _none() -> Float32Array:
    return np.zeros(0, np.float32)


@dataclass(frozen=True)
class Moments:
    """What a server optimizer carries from round to round.

    Args:
        first: ``(d,)``, the running mean or sum of aggregates.
        second: ``(d,)``, of their squares; empty where the optimizer keeps none.
        average: ``(d,)``, of the newest models (:class:`~skerry.strategies.averaging.Averaged`), or empty.
        averaged: how many models are in it.
    """

    first: Float32Array = field(default_factory=_none)
    second: Float32Array = field(default_factory=_none)
    average: Float32Array = field(default_factory=_none)
    averaged: int = 0


class ServerOptimizer(Protocol):
    """A step of the model by the aggregate of a round."""

    def start(self, size: int) -> Moments:
        """What is carried into the first round, for a vector of ``size`` numbers."""

    def __call__(self, vector: Float32Array, aggregate: Float32Array, moments: Moments) -> tuple[Float32Array, Moments]:
        """The new ``(d,)`` vector and what is carried on; no argument is changed.

        Raises:
            AggregationError: the shapes differ, or a number would not be finite.
        """


@dataclass(frozen=True)
class FedAvg:
    """``w ← w + η·Δ`` with the aggregated delta Δ; η = 1 is federated averaging.

    Reference: McMahan et al. 2017 (arXiv:1602.05629), algorithm 1; the server's step size η as in Reddi et al. 2021,
    "Adaptive Federated Optimization" (arXiv:2003.00295), algorithm 1.

    Args:
        learning_rate: η, positive.

    >>> FedAvg(0.5)(np.array([1.0, 2.0], np.float32), np.array([2.0, -2.0], np.float32)).tolist()
    [2.0, 1.0]
    """

    learning_rate: float = 1.0

    def __post_init__(self) -> None:
        if not (isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ScenarioError(
                f"the server's learning rate must be positive, got {self.learning_rate}",
                where="training.server_learning_rate",
            )

    def __call__(self, vector: Float32Array, aggregate: Float32Array) -> Float32Array:
        """The new ``(d,)`` float32 vector; neither argument is changed.

        Raises:
            AggregationError: the shapes differ, or the new vector would not be finite.
        """
        if vector.shape != aggregate.shape:
            raise AggregationError(f"a delta of shape {aggregate.shape} does not fit a vector of shape {vector.shape}")
        with np.errstate(over="ignore"):  # an overflow is reported below, once
            moved = (vector + self.learning_rate * aggregate.astype(np.float64)).astype(np.float32)
        if not np.isfinite(moved).all():
            raise AggregationError(
                "the step would make the model infinite", mend="lower training.learning_rate or add a defence"
            )
        return moved


@dataclass(frozen=True)
class FedAvgM:
    """``v ← β·v + Δ``, ``w ← w + η·v``: federated averaging with momentum at the server; β = 0 is :class:`FedAvg`.

    Devices start each round without momentum; this carries it over rounds. Reference: Hsu, Qi, Brown 2019, "Measuring
    the effects of non-identical data distribution for federated visual classification" (arXiv:1909.06335), section 4.3.

    Args:
        learning_rate: η, positive.
        momentum: β, at least 0 and below 1.

    >>> step = FedAvgM(1.0, 0.5)
    >>> w, v = step(np.zeros(1, np.float32), np.ones(1, np.float32), step.start(1))
    >>> step(w, np.ones(1, np.float32), v)[0].tolist()
    [2.5]
    """

    learning_rate: float = 1.0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        _check_share(self.momentum, "momentum", "training.server_momentum")

    def start(self, size: int) -> Moments:
        """No momentum."""
        return Moments(np.zeros(size, np.float32))

    def __call__(self, vector: Float32Array, aggregate: Float32Array, moments: Moments) -> tuple[Float32Array, Moments]:
        """As :class:`ServerOptimizer`."""
        _check_shape(moments.first, aggregate)
        carried = (self.momentum * moments.first.astype(np.float64) + aggregate).astype(np.float32)
        return FedAvg(self.learning_rate)(vector, carried), Moments(carried)


@dataclass(frozen=True)
class _Adaptive(ABC):
    """``m ← β₁·m + (1 − β₁)·Δ``, ``w ← w + η·m / (√v + τ)`` from m = 0 and v = τ²; how v moves is each one's own.

    Reference: Reddi et al. 2021, "Adaptive Federated Optimization" (arXiv:2003.00295), algorithm 2; without bias
    correction, as there. Each number of the model has a step of its own, of about η once v follows the squares: a
    server's learning rate between 0.001 and 0.1 is usual, where :class:`FedAvg` takes 1.

    Noise for privacy lies in every Δ, and √v does not get smaller than it: where noise is larger than what devices
    agree on, all numbers get the same small step. Correlated noise (matrix factorization) is made to cancel in the sum
    of aggregates; steps that are no sum of them let less of it cancel. Neither touches the guarantee.

    Args:
        learning_rate: η, positive.
        momentum: β₁, at least 0 and below 1.
        decay: β₂, at least 0 and below 1; how much of the squares of earlier rounds is kept.
        adaptivity: τ, in (0, 1]: below it a number counts as small; the larger, the more like :class:`FedAvgM`.
    """

    learning_rate: float = 0.01
    momentum: float = 0.9
    decay: float = 0.99
    adaptivity: float = 1e-3

    def __post_init__(self) -> None:
        FedAvg(self.learning_rate)
        _check_share(self.momentum, "momentum", "training.server_momentum")
        _check_share(self.decay, "decay of squares", "training.server_decay")
        if not 0 < self.adaptivity <= 1:
            raise ScenarioError(
                f"the server's adaptivity lies in (0, 1], got {self.adaptivity}", where="training.server_adaptivity"
            )

    def start(self, size: int) -> Moments:
        """M = 0, v = τ²."""
        return Moments(np.zeros(size, np.float32), np.full(size, self.adaptivity**2, np.float32))

    def __call__(self, vector: Float32Array, aggregate: Float32Array, moments: Moments) -> tuple[Float32Array, Moments]:
        """As :class:`ServerOptimizer`."""
        _check_shape(moments.first, aggregate)
        _check_shape(moments.second, aggregate)
        delta = aggregate.astype(np.float64)
        first = self.momentum * moments.first.astype(np.float64) + (1 - self.momentum) * delta
        second = self._squares(moments.second.astype(np.float64), delta**2)
        moved = FedAvg(self.learning_rate)(vector, _narrow(first / (np.sqrt(second) + self.adaptivity)))
        return moved, Moments(_narrow(first), _narrow(second))

    @abstractmethod
    def _squares(self, second: _Float64Array, squares: _Float64Array) -> _Float64Array:
        """The next v from the last and from Δ²."""


@dataclass(frozen=True)
class FedAdam(_Adaptive):
    """:class:`_Adaptive` with ``v ← β₂·v + (1 − β₂)·Δ²``: forgets early rounds at a steady rate.

    >>> step = FedAdam(0.1, 0.0, 0.0, 1e-6)
    >>> moved, _ = step(np.zeros(2, np.float32), np.array([3.0, -0.5], np.float32), step.start(2))
    >>> [f"{number:.3f}" for number in moved]
    ['0.100', '-0.100']
    """

    def _squares(self, second: _Float64Array, squares: _Float64Array) -> _Float64Array:
        return self.decay * second + (1 - self.decay) * squares


@dataclass(frozen=True)
class FedYogi(_Adaptive):
    """:class:`_Adaptive` with ``v ← v − (1 − β₂)·Δ²·sign(v − Δ²)``: v falls by what Δ² is, not in proportion to v.

    So that a few quiet rounds do not make steps large all at once, as in Adam.
    """

    def _squares(self, second: _Float64Array, squares: _Float64Array) -> _Float64Array:
        return second - (1 - self.decay) * squares * np.sign(second - squares)


@dataclass(frozen=True)
class FedAdagrad(_Adaptive):
    """:class:`_Adaptive` with ``v ← v + Δ²``: steps only get smaller; ``decay`` has no effect.

    In the paper β₁ is 0 here; it may be more.
    """

    momentum: float = 0.0

    def _squares(self, second: _Float64Array, squares: _Float64Array) -> _Float64Array:
        return second + squares


_ADAPTIVE: dict[str, type[_Adaptive]] = {"fedadam": FedAdam, "fedyogi": FedYogi, "fedadagrad": FedAdagrad}


def named_optimizer(
    name: str, *, learning_rate: float, momentum: float, decay: float, adaptivity: float
) -> ServerOptimizer:
    """``fedavgm``, ``fedadam``, ``fedyogi`` or ``fedadagrad``; what an optimizer does not have is left out.

    Raises:
        ScenarioError: there is no such optimizer, or a number is out of its range.
    """
    if name == "fedavgm":
        return FedAvgM(learning_rate, momentum)
    if name not in _ADAPTIVE:
        raise ScenarioError(f"no server optimizer {name!r}: fedavgm, {', '.join(_ADAPTIVE)}", where="training")
    return _ADAPTIVE[name](learning_rate, momentum, decay, adaptivity)


def _check_share(value: float, what: str, where: str) -> None:
    if not 0 <= value < 1:
        raise ScenarioError(f"the server's {what} lies in [0, 1), got {value}", where=where)


def _check_shape(carried: Float32Array, aggregate: Float32Array) -> None:
    if carried.shape != aggregate.shape:
        raise AggregationError(f"a delta of shape {aggregate.shape} does not fit what is carried, {carried.shape}")


def _narrow(values: _Float64Array) -> Float32Array:
    """In float32.

    Raises:
        AggregationError: a number is not finite there.
    """
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    if not np.isfinite(narrow).all():
        raise AggregationError(
            "what the server carries on would be infinite", mend="lower training.learning_rate or add a defence"
        )
    return narrow
