"""A coordinator with the right keys and the wrong intent: what a device refuses by name, and what cannot hurt it.

Everything here is signed by the coordinator that the device trusts and sealed to the device, so that only the device's
own rules stand between the instruction and the data."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from skerry.device.protocol import Update
from skerry.device.training.dp import Grid
from skerry.device.training.head import HeadTrainer
from skerry.records import Float32Array
from skerry.server.prepare import train_plan

from ._victim import Victim, assert_bounded


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        ({"noise_multiplier": 0.0}, "malformed"),
        ({"noise_multiplier": 1e-3}, "budget_exceeded"),
        ({"noise_multiplier": 1e-300}, "budget_exceeded"),
        ({"noise_multiplier": 1e300}, "malformed"),
        ({"noise_multiplier": 10**400}, "malformed"),
        ({"clip": float("inf")}, "malformed"),
        ({"clip": float("nan")}, "malformed"),
        ({"clip": 0.0}, "malformed"),
        ({"batch_size": 1}, "malformed"),
        ({"sampling_rate": 1e-9}, "malformed"),
        ({"denominator": 0}, "malformed"),
        ({"denominator": 10**400}, "malformed"),
        ({"epochs": 100}, "budget_exceeded"),
        ({"epochs": 10**6, "noise_multiplier": 1e5}, "malformed"),
        ({"epochs": 10**400}, "malformed"),
        ({"unit": "none"}, "unit_refused"),
        ({"unit": "device", "rounds": 1}, "unit_refused"),
        ({"noise": 3.0}, "malformed"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_plan_that_would_give_examples_away_is_refused_before_the_debit(victim: Victim, plan, reason):
    assert victim.refusal(plan=plan) == reason


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused_before_the_debit(victim: Victim, value: float):
    vector = victim.model.initial().copy()
    vector[7] = value
    assert victim.refusal(vector) == "not_finite"


def _traps(victim: Victim) -> dict[str, Float32Array]:
    """Heads that a malicious server would try: to single examples out, to copy them, or to break the arithmetic."""
    layout, honest = victim.model.layout, victim.model.initial()
    classes, width = layout.tensors[0][1]
    rows, labels = victim.examples

    def head(change: Any) -> Float32Array:
        weight = honest.reshape(classes, width).copy()
        change(weight)
        return weight.ravel()

    def bias(weight: Float32Array) -> None:
        weight[3, -1] = 1e6  # everybody but class 3 is wrong and sure of it: all of their gradients are as large

    def fishing(weight: Float32Array) -> None:
        weight[:] = 0
        weight[labels[0]] = -1e4 * rows[0]  # the target alone is wrong; others score 0 or the reverse

    def huge(weight: Float32Array) -> None:
        weight[:] = 3e38 * np.where(np.arange(width) % 2, 1, -1)

    def tiny(weight: Float32Array) -> None:
        weight[:] = 1e-45

    return {change.__name__: head(change) for change in (bias, fishing, huge, tiny)}


@pytest.mark.parametrize("trap", ["bias", "fishing", "huge", "tiny"])
def test_no_vector_makes_one_example_weigh_more_than_the_clip(victim: Victim, trap: str):
    """Weights cannot be told from honest ones by a rule, and need not: clip and noise are the device's own."""
    rows, labels = victim.examples
    assert_bounded(_traps(victim)[trap], rows[:20], labels[:20], victim)


@pytest.mark.parametrize("trap", ["bias", "fishing", "tiny"])
@pytest.mark.parametrize("plan", [{}, {"denominator": 1, "learning_rate": 1e6}, {"clip": 1e6}, {"clip": 1e-6}])
def test_trap_weights_and_scales_leave_the_noise_as_large_as_the_price_says(victim: Victim, trap: str, plan):
    """What comes back, less the exact sum, is noise of σ clips in each coordinate, whatever the server sent."""
    vector = _traps(victim)[trap]
    asked = dataclasses.replace(train_plan(victim.folder.scenario), epochs=1, **plan)
    update = Update.from_bytes(victim.ask(vector, plan={"epochs": 1, **plan}).payload)
    rows, labels = victim.examples
    grid = Grid(asked.clip, asked.noise_multiplier, len(vector))
    trainer = HeadTrainer(*victim.model.layout.tensors[0][1])
    weight = vector.astype(np.float64).reshape(trainer.classes, -1)
    exact = trainer.integer_sum(weight, rows.astype(np.float64), labels, grid) * grid.cell
    noise = -update.delta.astype(np.float64) * asked.denominator / asked.learning_rate - exact
    clips = noise / asked.clip
    assert np.abs(clips).max() < 6 * asked.noise_multiplier
    assert np.std(clips) == pytest.approx(asked.noise_multiplier, rel=0.1)
