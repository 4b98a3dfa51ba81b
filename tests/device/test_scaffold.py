"""SCAFFOLD is the paper's: checked against its algorithm, line by line, and on quadratics whose optimum is known."""

from dataclasses import replace

import numpy as np
import pytest

from skerry.device.protocol import CommonVariate, Instruction
from skerry.device.training.descent import descend
from skerry.device.training.plan import TrainPlan
from skerry.device.training.scaffold import correction, next_variate
from skerry.errors import InputError
from skerry.server.variates import ControlVariates

RNG = np.random.default_rng(3)
DEVICES, SIZE, ROUNDS = 6, 4, 120
CURVES = RNG.uniform(0.2, 2.0, (DEVICES, SIZE))  # F_i(x) = Σ_j a_ij·(x_j − b_ij)² / 2
CENTRES = RNG.normal(size=(DEVICES, SIZE)) * 3
OPTIMUM = (CURVES * CENTRES).sum(axis=0) / CURVES.sum(axis=0)
PLAN = TrainPlan(epochs=10, learning_rate=0.1, unit="none")


def local(i: int, x: np.ndarray, added: np.ndarray | None, plan: TrainPlan = PLAN) -> np.ndarray:
    def gradient(weights, _batch, out):
        np.multiply(CURVES[i], weights - CENTRES[i], out=out)

    return (descend(x.astype(np.float64), 1, gradient, plan, np.arange, added) - x).astype(np.float32)


def cohorts(size: int) -> list[np.ndarray]:
    generator = np.random.default_rng(7)
    return [np.sort(generator.permutation(DEVICES)[:size]) for _ in range(ROUNDS)]


def scaffold(asked: list[np.ndarray], lost=lambda number, device: False) -> tuple[np.ndarray, ControlVariates, list]:
    """Rounds by the parts that devices and server are made of; ``lost`` updates reach nobody."""
    x, server = np.zeros(SIZE, np.float32), ControlVariates.start(SIZE)
    kept = [{0: np.zeros(SIZE, np.float32)} for _ in range(DEVICES)]
    for number, cohort in enumerate(asked, 1):
        sent = {}
        for i in cohort.tolist():
            told = server.told(str(i))
            own = kept[i][told.counted]
            delta = local(i, x, correction(own, told.vector).astype(np.float64))
            kept[i] = {told.counted: own, number: next_variate(own, told.vector, delta, PLAN)}
            if not lost(number, i):
                sent[i] = delta
        if sent:
            mean = np.mean(list(sent.values()), axis=0)
            server = server.after(number, map(str, sent), mean, PLAN, DEVICES)
            x = x + mean
    own = [kept[i][server.counted.get(str(i), 0)] for i in range(DEVICES)]
    return x, server, own


def published(asked: list[np.ndarray]) -> np.ndarray:
    """Algorithm 1 of arXiv:1910.06378 with option II and a global step of 1, in float64."""
    x, c, c_i = np.zeros(SIZE), np.zeros(SIZE), np.zeros((DEVICES, SIZE))
    steps, eta = PLAN.epochs, PLAN.learning_rate
    for cohort in asked:
        moves, changes = [], []
        for i in cohort.tolist():
            y = x.copy()
            for _ in range(steps):
                y = y - eta * (CURVES[i] * (y - CENTRES[i]) - c_i[i] + c)
            new = c_i[i] - c + (x - y) / (steps * eta)
            moves.append(y - x)
            changes.append(new - c_i[i])
            c_i[i] = new
        x = x + np.mean(moves, axis=0)
        c = c + len(cohort) / DEVICES * np.mean(changes, axis=0)
    return x


def averaged(asked: list[np.ndarray]) -> np.ndarray:
    x = np.zeros(SIZE, np.float32)
    for cohort in asked:
        x = x + np.mean([local(i, x, None) for i in cohort.tolist()], axis=0)
    return x


@pytest.mark.parametrize("size", [DEVICES, 2])
def test_rounds_are_those_of_the_paper(size: int) -> None:
    asked = cohorts(size)
    for rounds in (1, 2, 7):
        found = scaffold(asked[:rounds])[0]
        np.testing.assert_allclose(found, published(asked[:rounds]), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("size", [DEVICES, 2])
def test_it_ends_at_the_optimum_with_local_steps_where_averaging_does_not(size: int) -> None:
    asked = cohorts(size)
    assert np.abs(scaffold(asked)[0] - OPTIMUM).max() < 1e-4
    assert np.abs(averaged(asked) - OPTIMUM).max() > 0.1


def test_the_server_keeps_the_sum_of_what_devices_keep_also_when_updates_are_lost() -> None:
    """Every fifth update reaches nobody; a device that did not know would pull the end aside for good."""
    x, server, own = scaffold(cohorts(3), lost=lambda number, device: (number + device) % 5 == 0)
    np.testing.assert_allclose(server.total, np.sum(own, axis=0), atol=1e-4)
    assert np.abs(x - OPTIMUM).max() < 1e-4


def test_a_device_that_joins_later_leaves_the_sum_as_it_is() -> None:
    server = ControlVariates.start(2).after(1, ["a"], np.array([-1.0, 2.0], np.float32), PLAN, 1)
    np.testing.assert_allclose(server.common, [1.0, -2.0])  # K·η is 1
    more = replace(server, devices=4)
    np.testing.assert_allclose(more.common, [0.25, -0.5])
    assert more.told("a").counted == 1
    assert more.told("b").counted == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"momentum": 0.5},
        {"proximal": 0.1},
        {"batch_size": 4},
        {"adversarial": "pgd", "adversarial_epsilon": 0.1},
        {"unit": "device", "noise_multiplier": 1.0},
    ],
)
def test_no_instruction_asks_for_steps_that_tell_no_mean_gradient(changes: dict) -> None:
    x = np.zeros(SIZE, np.float32)
    plan = replace(PLAN, **changes)
    with pytest.raises(InputError, match="SCAFFOLD"):
        Instruction(x, "0" * 64, plan, None, CommonVariate(x, 0))
    plain = Instruction(x, "0" * 64, plan, None)
    assert Instruction.from_bytes(plain.to_bytes()).variate is None


def test_an_instruction_carries_the_variate_to_the_last_bit_and_others_have_no_key_for_it() -> None:
    x = RNG.normal(size=SIZE).astype(np.float32)
    given = Instruction(x, "0" * 64, PLAN, None, CommonVariate(2 * x, 3))
    read = Instruction.from_bytes(given.to_bytes())
    assert read.variate is not None
    assert read.variate.vector.tobytes() == (2 * x).tobytes()
    assert read.variate.counted == 3
    plain = Instruction(x, "0" * 64, PLAN, None).to_bytes()
    assert b"variate" not in plain
    assert b"loss" not in plain
    with pytest.raises(InputError, match="shape"):
        Instruction(x, "0" * 64, PLAN, None, CommonVariate(x[:-1], 0))


def test_no_instruction_asks_for_a_loss_under_privacy() -> None:
    x = np.zeros(SIZE, np.float32)
    assert Instruction.from_bytes(Instruction(x, "0" * 64, PLAN, None, loss=True).to_bytes()).loss
    for changes in ({"unit": "example", "noise_multiplier": 1.0}, {"unit": "device", "noise_multiplier": 1.0}):
        with pytest.raises(InputError, match="loss"):
            Instruction(x, "0" * 64, replace(PLAN, **changes), None, loss=True)
