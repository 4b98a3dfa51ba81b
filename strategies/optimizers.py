"""How the coordinator moves the model by an aggregated delta."""

from dataclasses import dataclass
from math import isfinite

import numpy as np

from skerry.errors import AggregationError, ScenarioError
from skerry.records import Float32Array

__all__ = ["FedAvg", "FedAvgM"]


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

    Devices start each round without momentum; this carries it over rounds. It works on released values alone, so it
    costs no privacy. Reference: Hsu, Qi, Brown 2019, "Measuring the effects of non-identical data distribution for
    federated visual classification" (arXiv:1909.06335), section 4.3.

    Args:
        learning_rate: η, positive.
        momentum: β, at least 0 and below 1.

    >>> step = FedAvgM(1.0, 0.5)
    >>> w, v = step(np.zeros(1, np.float32), np.ones(1, np.float32), np.zeros(1, np.float32))
    >>> step(w, np.ones(1, np.float32), v)[0].tolist()
    [2.5]
    """

    learning_rate: float = 1.0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ScenarioError(
                f"the server's momentum lies in [0, 1), got {self.momentum}", where="training.server_momentum"
            )

    def __call__(
        self, vector: Float32Array, aggregate: Float32Array, velocity: Float32Array
    ) -> tuple[Float32Array, Float32Array]:
        """The new ``(d,)`` vector and velocity; no argument is changed.

        Raises:
            AggregationError: the shapes differ, or the new vector would not be finite.
        """
        if velocity.shape != aggregate.shape:
            raise AggregationError(f"a delta of shape {aggregate.shape} does not fit a velocity of {velocity.shape}")
        carried = (self.momentum * velocity.astype(np.float64) + aggregate).astype(np.float32)
        return FedAvg(self.learning_rate)(vector, carried), carried
