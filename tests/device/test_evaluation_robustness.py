"""Attacks find the worst point of the ball where it is known in closed form, and the model itself is what is judged."""

import numpy as np
import pytest
import torch
from torch import nn

from skerry.config import ModelConfig, TaskConfig
from skerry.device.evaluation import Plan, Scorer, evaluate_models
from skerry.device.evaluation.robustness import auto_attack, pgd_attack, robustness_of
from skerry.device.tasks.digits import DigitsTask
from skerry.device.tasks.reach import attack_ball
from skerry.device.training.central import predict, train_centrally
from skerry.errors import InputError, MissingDependencyError
from skerry.records import Examples
from skerry.security.adversarial import Ball

CLASSES = 6
BALLS = [Ball(0.05, "linf"), Ball(0.2, "l2"), Ball(0.05, "linf", 0.0, 1.0)]


@pytest.fixture(scope="module")
def linear():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(24, CLASSES))
    module[1].weight.data *= 20  # sure of itself, as trained networks are: the loss then follows the nearest class
    return module


def examples(module, n=80):
    """Examples from 0 to 1 under the labels that the network gives them."""
    x = np.random.default_rng(3).uniform(0, 1, (n, 1, 4, 6)).astype(np.float32)
    return x, predict(module, x).argmax(1)


def withstood(module, x, y, ball) -> np.ndarray:
    """Exactly: the least margin of a linear network over the ball, for each other class."""
    weight, bias = (p.detach().double().numpy() for p in module[1].parameters())
    flat = x.reshape(len(x), -1).astype(np.float64)
    found = np.ones(len(x), bool)
    for i, (row, label) in enumerate(zip(flat, y, strict=True)):
        for other in set(range(CLASSES)) - {label}:
            away = weight[label] - weight[other]
            if ball.norm == "l2":
                fall = ball.epsilon * np.linalg.norm(away)
            else:
                moved = np.clip(row - ball.epsilon * np.sign(away), ball.low, ball.high)
                fall = away @ (row - moved)
            found[i] &= away @ row + bias[label] - bias[other] - fall > 0
    return found


@pytest.mark.parametrize("ball", BALLS)
def test_of_a_linear_network_pgd_finds_all_that_can_be_found_but_for_a_few(linear, ball):
    x, y = examples(linear)
    exact = withstood(linear, x, y, ball)
    assert 0.2 < exact.mean() < 0.8
    found = robustness_of(lambda z: predict(linear, z), linear, x, y, ball)
    assert found.clean == 1.0
    assert exact.mean() - 1e-9 <= found.worst <= exact.mean() + 0.04
    assert found.attacks["PGD-50 × 5"] <= found.attacks["PGD-20"] + 0.02
    assert found.worst <= min(found.attacks.values())
    assert found.twin == 1.0


@pytest.mark.parametrize("ball", BALLS[1:])
def test_auto_attack_agrees_with_the_closed_form(linear, ball):
    pytest.importorskip("pyautoattack")
    x, y = examples(linear, 12)
    moved = auto_attack(linear, x, y, ball, fab=False)
    stood = predict(linear, moved).argmax(1) == y
    assert abs(stood.mean() - withstood(linear, x, y, ball).mean()) <= 1 / 12
    delta = (moved - x).reshape(12, -1)
    reach = np.abs(delta).max(1) if ball.norm == "linf" else np.linalg.norm(delta, axis=1)
    assert (reach <= ball.epsilon * 1.001 + 1e-5).all()


def test_without_it_auto_attack_says_what_to_install(linear, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyautoattack", None)
    x, y = examples(linear, 5)
    with pytest.raises(MissingDependencyError) as told:
        robustness_of(lambda z: predict(linear, z), linear, x, y, BALLS[0], auto=True)
    assert "skerry[eval]" in str(told.value.mend)


def test_restarts_differ_and_repeat_with_their_seed(linear):
    x, y = examples(linear, 10)
    runs = [list(pgd_attack(linear, x, y, BALLS[1], steps=3, restarts=2, seed=seed)) for seed in (0, 0, 1)]
    assert [part.tobytes() for part in runs[0]] == [part.tobytes() for part in runs[1]]
    assert not np.array_equal(runs[0][0], runs[0][1])
    assert not np.array_equal(runs[0][0], runs[2][0])


def test_the_model_is_judged_and_not_its_twin(linear):
    x, y = examples(linear)
    steady = predict(linear, x)  # scores of the unmoved examples, whatever it is given
    found = robustness_of(lambda z: steady, linear, x, y, BALLS[0])
    assert found.worst == 1.0
    assert found.twin < 0.9


def test_nothing_to_attack_is_refused(linear):
    x, y = examples(linear, 1)
    with pytest.raises(InputError):
        robustness_of(lambda z: predict(linear, z), linear, x[:0], y[:0], BALLS[0])


def test_a_radius_is_a_share_of_the_way_from_black_to_white():
    task = DigitsTask(TaskConfig(channels=1), ModelConfig(input_size=8))
    ball = attack_ball(task, 0.25)
    held_out = Examples.concatenate(list(task.evaluation().values()))
    x = task.transform(held_out.x)
    assert ball.low == pytest.approx(x.min())
    assert ball.high == pytest.approx(x.max())
    assert ball.epsilon == pytest.approx(0.25 * (x.max() - x.min()))

    class Windows:
        name = "windows"

    assert attack_ball(Windows(), 0.25, "l2") == Ball(0.25, "l2")


def test_models_of_a_task_are_attacked_on_the_sample_and_one_without_gradients_is_refused():
    task = DigitsTask(TaskConfig(channels=1), ModelConfig(input_size=8))
    public = task.public_data()
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    train_centrally(module, task.transform(public.x[::4]), public.y[::4], epochs=2)
    plan = Plan(corruptions=False, sample=50, adversarial=0.05)
    scorer = Scorer("linear", "float", lambda x: predict(module, x), lambda: module)
    found = evaluate_models(task, [scorer], plan)
    told = found.models[0].robustness
    assert told is not None
    assert told.examples == found.sample == 50
    assert told.clean > told.worst + 0.1
    assert found.to_json()["models"][0]["robustness"]["attacks"]["PGD-20"] == told.attacks["PGD-20"]
    with pytest.raises(InputError, match="gradients"):
        evaluate_models(task, [Scorer("linear", "float", lambda x: predict(module, x))], plan)
