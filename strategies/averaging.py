"""The mean of the newest models, which is better than the last of them."""

from dataclasses import dataclass, replace

import numpy as np

from skerry.errors import AggregationError, ScenarioError
from skerry.records import Float32Array
from skerry.strategies.optimizers import Moments, ServerOptimizer

__all__ = ["Averaged", "released"]


@dataclass(frozen=True)
class Averaged:
    """``w̄ₜ ← a·w̄ₜ₋₁ + (1 − a)·wₜ`` with ``a = min(keep, (t − 1) / t)`` beside the steps of another optimizer.

    The first ``1 / (1 − keep)`` models are averaged alike, then earlier ones fade. What devices train from is ``wₜ``,
    as without it; what is evaluated and released is ``w̄ₜ``. Each ``wₜ`` swings by what few devices, stale answers and
    noise for privacy bring into its last steps, and the mean swings less, so the server may take longer steps. A mean
    of released models is one: it costs no privacy (post-processing). A step that was skipped does not count.

    References: Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging"; with noise for
    privacy De et al. 2022, "Unlocking high-accuracy differentially private image classification through scale"
    (arXiv:2204.13650), section 3.

    Args:
        optimizer: moves the model.
        keep: in [0, 1); about ``1 / (1 − keep)`` models count. With 0 it is the last one.

    Raises:
        ScenarioError: ``keep`` is out of its range.

    >>> from skerry.strategies.optimizers import FedAvgM
    >>> step = Averaged(FedAvgM(1.0), 0.9)
    >>> w, carried = step(np.zeros(1, np.float32), np.ones(1, np.float32), step.start(1))
    >>> w, carried = step(w, np.ones(1, np.float32), carried)
    >>> w.tolist(), released(w, carried).tolist()
    ([2.0], [1.5])
    """

    optimizer: ServerOptimizer
    keep: float

    def __post_init__(self) -> None:
        if not 0 <= self.keep < 1:
            raise ScenarioError(
                f"the share of the average that is kept is in [0, 1), got {self.keep}", where="training.server_average"
            )

    def start(self, size: int) -> Moments:
        """What the optimizer starts from, and no model yet."""
        return self.optimizer.start(size)

    def __call__(self, vector: Float32Array, aggregate: Float32Array, moments: Moments) -> tuple[Float32Array, Moments]:
        """The optimizer's ``(d,)`` vector, and what is carried on; no argument is changed.

        Raises:
            AggregationError: as the optimizer, or what was carried has another shape.
        """
        moved, carried = self.optimizer(vector, aggregate, moments)
        averaged = moments.averaged + 1
        if averaged == 1:
            return moved, replace(carried, average=moved, averaged=averaged)
        if moments.average.shape != moved.shape:
            raise AggregationError(f"an average of shape {moments.average.shape} does not fit {moved.shape}")
        keep = min(self.keep, (averaged - 1) / averaged)
        average = keep * moments.average.astype(np.float64) + (1 - keep) * moved
        return moved, replace(carried, average=average.astype(np.float32), averaged=averaged)


def released(vector: Float32Array, moments: Moments) -> Float32Array:
    """What is evaluated and released beside the vector that devices train from: the average where there is one."""
    return moments.average if moments.averaged else vector
