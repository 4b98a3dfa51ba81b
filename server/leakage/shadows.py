"""Many small federations with coins: what an attacker trains to know how scores look with an example in, and out."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.device.tasks.metrics import log_softmax, softmax
from skerry.device.training.head import HeadTrainer
from skerry.device.training.plan import TrainPlan
from skerry.records import Float32Array
from skerry.security.privacy.stream import derive_generator, seeded_stream
from skerry.server.leakage.inversion import Seen
from skerry.strategies import Rule

__all__ = ["Shadows", "shadow_runs"]

_Float64 = npt.NDArray[np.float64]
_Labels = npt.NDArray[np.int64]
_SMALLEST = 1e-12


@dataclass(frozen=True)
class Shadows:
    """Tables ``(runs, examples)``, the examples of all devices side by side.

    Attributes:
        inside: who was in.
        by_model: log-odds of the true class under the final model, which everybody has who gets it.
        by_updates: how far a device's own updates point along the example's clipped gradient, which the coordinator
            sees.
        by_rest: the same of what is left of the updates when all other members are taken away: the attacker knows all
            but this example, as the definition of differential privacy grants. The likelihood ratio of the mechanism.
    """

    inside: npt.NDArray[np.bool_]
    by_model: _Float64
    by_updates: _Float64
    by_rest: _Float64


def shadow_runs(
    devices: Mapping[str, tuple[Float32Array, _Labels]],
    trainer: HeadTrainer,
    initial: Float32Array,
    plan: TrainPlan,
    rule: Rule,
    *,
    rounds: int,
    runs: int,
    seed: int,
) -> Shadows:
    """Train the head ``runs`` times, each example of each device in or out by a fair coin of that run.

    Args:
        devices: rows ``(n, k)`` and labels.
        trainer: of the head.
        initial: ``(d,)``, the head before the first round.
        plan: of every round.
        rule: that aggregates the devices' updates.
        rounds: of each run.
        runs: how many.
        seed: of coins and noise.
    """
    tables: dict[str, list[npt.NDArray[Any]]] = {field.name: [] for field in fields(Shadows)}
    for run in range(runs):
        coins = derive_generator(seed, "membership coins", run)
        inside = {device: coins.random(len(labels)) < 0.5 for device, (_, labels) in devices.items()}
        along = {device: np.zeros((2, len(labels))) for device, (_, labels) in devices.items()}
        vector = initial
        for number in range(rounds):
            deltas = []
            for device, (rows, labels) in devices.items():
                kept = inside[device]
                stream = seeded_stream(seed, "membership noise", run, number, device)
                delta = trainer.train(vector, rows[kept], labels[kept], plan, stream)
                along[device] += _along(Seen(vector, delta, plan), rows, labels, kept)
                deltas.append(delta)
            vector = vector + rule(np.stack(deltas))
        odds = [_log_odds(trainer.logits(vector, rows), labels) for rows, labels in devices.values()]
        updates, rest = np.concatenate(list(along.values()), axis=1)
        found = (np.concatenate(list(inside.values())), np.concatenate(odds), updates, rest)
        for table, row in zip(tables.values(), found, strict=True):
            table.append(row)
    return Shadows(**{name: np.stack(table) for name, table in tables.items()})


def _along(seen: Seen, rows: Float32Array, labels: _Labels, inside: npt.NDArray[np.bool_]) -> _Float64:
    """Inner products ``(2, n)`` of each example's clipped gradient with what was seen, and with what the others leave.

    Gradients are those along the straight line from where the device began to where it ended, which lies near.
    """
    a = rows.astype(np.float64)
    steps = seen.plan.steps
    gradient = seen.gradient.reshape(-1, a.shape[1])
    updates, rest = np.zeros((2, len(a)))
    for step in range(steps):
        head = (seen.vector + seen.delta.astype(np.float64) * (step / steps)).reshape(gradient.shape)
        errors = softmax(a @ head.T)
        errors[np.arange(len(a)), labels] -= 1
        norms = np.linalg.norm(errors, axis=1) * np.linalg.norm(a, axis=1)
        errors *= np.minimum(1, seen.plan.clip / np.maximum(norms, _SMALLEST))[:, None]
        own = inside * (np.minimum(norms, seen.plan.clip) ** 2)
        others = errors[inside].T @ a[inside]
        updates += np.einsum("nc,ck,nk->n", errors, gradient / steps, a)
        rest += np.einsum("nc,ck,nk->n", errors, gradient / steps - others, a) + own
    return np.stack([updates, rest])


def _log_odds(scores: Float32Array, labels: _Labels) -> _Float64:
    """Of the true class, log p - log(1 - p): nearly normal over runs, as LiRA wants it."""
    logs = log_softmax(scores)
    own = logs[np.arange(len(labels)), labels]
    odds: _Float64 = own - np.log(np.maximum(-np.expm1(own), _SMALLEST))
    return odds
