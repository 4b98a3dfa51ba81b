"""Gradient descent on a flat vector, with privacy and without: one loop for every mode.

Both add the proximal term of FedProx (Li et al. 2020, "Federated optimization in heterogeneous networks"): the
gradient of μ/2·‖w - w₀‖², with w₀ the vector that the round started from. It pulls a device back to where everybody
started; it is computed from public and released values alone, so it costs no privacy.

Both can be asked to stop (:mod:`skerry.device.yielding`). What a step had summed by then is dropped and summed again
later, so that where a descent stands never holds a sum without its noise.
"""

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from skerry.device.training.dp import Grid
from skerry.device.training.plan import TrainPlan
from skerry.device.yielding import Standing, YieldedError, leave_at, went_before, yield_if_asked
from skerry.security.privacy.stream import RandomStream

__all__ = ["descend", "descend_privately", "draw_examples"]

Weights = TypeVar("Weights", npt.NDArray[np.float32], npt.NDArray[np.float64])
Chosen = npt.NDArray[np.int64]
_NONE = np.empty(0)


def descend(
    start: Weights,
    count: int,
    gradient: Callable[[Weights, Chosen, Weights], None],
    plan: TrainPlan,
    order: Callable[[int], Chosen],
    correction: Weights | None = None,
) -> Weights:
    """Epochs of mini-batch gradient descent on the mean loss: no clipping and no noise.

    Args:
        start: ``(d,)``; not changed.
        count: n, the number of examples; may be 0.
        gradient: writes the mean gradient over a batch (weights, indices of the batch) into its last argument.
        plan: epochs, batch size (0: all), replays of each batch, learning rate, momentum (starts anew each call),
            proximal term, clip.
        order: n to a permutation of ``0 … n-1``, called once an epoch.
        correction: ``(d,)`` added to each step's gradient after its clip (:mod:`~skerry.device.training.scaffold`).

    Returns:
        ``(d,)`` of the same type: where the descent ended.
    """
    weights, slope = start.copy(), np.empty_like(start)
    step = np.zeros_like(start) if plan.momentum else slope
    size = plan.batch_size or max(1, count)
    done, before = 0, went_before()
    if before is not None:
        weights, step = before.weights.copy(), before.velocity.copy() if plan.momentum else slope
    try:
        for _ in range(plan.epochs):
            visited = order(count)  # also of epochs that went before: whatever gives it stands where it stood
            for first in range(0, count, size):
                for _ in range(plan.replays):
                    done += 1
                    if before is not None and done <= before.done:
                        continue
                    yield_if_asked()
                    gradient(weights, visited[first : first + size], slope)
                    if plan.gradient_clip:
                        slope *= min(1.0, plan.gradient_clip / max(float(np.linalg.norm(slope)), 1e-12))
                    _advance(weights, start, slope, step, plan, correction)
    except YieldedError:
        leave_at(Standing(done - 1, weights, step if plan.momentum else _NONE, 0))
        raise
    return weights


def descend_privately(
    start: npt.NDArray[np.float64],
    count: int,
    integer_sum: Callable[[npt.NDArray[np.float64], Chosen, Grid], npt.NDArray[np.int64]],
    plan: TrainPlan,
    stream: RandomStream,
    correction: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float64]:
    """Steps on noisy sums of clipped gradients: differentially private per example at :attr:`TrainPlan.event`.

    Assumption: ``integer_sum`` keeps what :class:`Grid` asks for, that each example's integers depend on that example
    and on the weights alone; and the stream is secret.

    Args:
        start: ``(d,)`` float64, from public values and earlier releases; not changed.
        count: n, the number of examples; may be 0.
        integer_sum: Σ z over the examples of these indices (weights, indices, grid), ``(d,)`` int64.
        plan: what to do; its event must have been debited.
        stream: noise, and who takes part in a step when the sampling rate is below 1.
        correction: ``(d,)`` added to each noisy gradient; from public values and earlier releases, like ``start``.

    Returns:
        ``(d,)`` float64: where the descent ended.
    """
    grid, steps = _grid(plan.clip, plan.noise_multiplier, start.size), plan.steps
    weights, velocity = start.copy(), np.zeros_like(start)
    done, drawn, before = 0, stream.drawn, went_before()
    if before is not None:
        done, weights, velocity = before.done, before.weights.copy(), before.velocity.copy()
        stream.skip_to(before.drawn)
    try:
        while done < steps:
            drawn = stream.drawn
            yield_if_asked()
            chosen = draw_examples(count, plan.sampling_rate, stream)
            slope = grid.release(integer_sum(weights, chosen, grid), stream)
            slope /= plan.sampling_rate * plan.denominator
            _advance(weights, start, slope, velocity if plan.momentum else slope, plan, correction)
            done += 1
    except YieldedError:
        leave_at(Standing(done, weights, velocity, drawn))
        raise
    return weights


def draw_examples(count: int, rate: float, stream: RandomStream) -> Chosen:
    """Poisson sampling: the indices of those that take part, each by itself with probability ``rate`` (or 2^-64 less).

    At rate 1 it is everybody and nothing is drawn.
    """
    if rate == 1:
        return np.arange(count)
    threshold = int(Fraction(rate) * 2**64)
    return np.flatnonzero(stream.uint64(count) < np.uint64(threshold))


@lru_cache(maxsize=64)
def _grid(clip: float, noise_multiplier: float, size: int) -> Grid:
    """Remembered: the rounds of a run, and the devices of a process, mostly have the same, and its noise a table."""
    return Grid(clip, noise_multiplier, size)


def _advance(weights: Any, start: Any, slope: Any, step: Any, plan: TrainPlan, correction: Any) -> None:
    """One step, in place; ``slope`` is overwritten, and is the same array as ``step`` when there is no momentum."""
    if correction is not None:
        slope += correction
    if plan.proximal:
        slope += plan.proximal * (weights - start)
    if plan.momentum:
        step *= plan.momentum
        step += slope
    weights -= np.multiply(step, plan.learning_rate, out=slope)
