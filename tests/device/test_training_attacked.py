"""Devices train against attacks: exactly one by one under privacy, watched without it, refused where it cannot be."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from skerry.config import ModelConfig, TaskConfig, default_scenario
from skerry.device.local_model import build_local_model, load_local_model, withstands
from skerry.device.tasks.reach import attack_ball
from skerry.device.training import network as network_module
from skerry.device.training.adversarial import AdversarialLosses, KeyedStarts, pgd, started
from skerry.device.training.carried import Carried
from skerry.device.training.descent import descend
from skerry.device.training.dp import Grid
from skerry.device.training.network import NetworkTrainer
from skerry.device.training.plan import TrainPlan
from skerry.errors import InputError, ScenarioError
from skerry.security.adversarial import AdversarialRecipe, Ball
from skerry.security.privacy import seeded_stream
from skerry.server.launch import launch
from skerry.server.prepare import noise_for

HERE = Path(__file__).parent
METHODS = ("fgsm_rs", "n_fgsm", "pgd", "trades")
BALL = Ball(0.1, "linf", 0.0, 1.0)


def trainer() -> NetworkTrainer:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 4))
    return NetworkTrainer(module)


def tempting(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A spot in one of four places tells the class, and so does a pattern all over, too weak to survive an attack."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 4, n)
    patterns = np.random.default_rng(99).choice([-0.05, 0.05], (4, 1, 8, 8))
    x = 0.4 + patterns[y] + generator.normal(0, 0.08, (n, 1, 8, 8))
    x[np.arange(n), 0, 2 * y, 2 * y] += generator.normal(0.35, 0.1, n)
    return x.clip(0, 1).astype(np.float32), y


def recipe(method: str = "fgsm_rs") -> AdversarialRecipe:
    return AdversarialRecipe(ball=BALL, method=method)


def private(**changes) -> TrainPlan:
    values = {"learning_rate": 0.5, "unit": "example", "noise_multiplier": 1.0, "denominator": 20, "epochs": 2}
    return TrainPlan(**values | changes)


def plain(**changes) -> TrainPlan:
    return TrainPlan(**{"learning_rate": 0.3, "unit": "none", "batch_size": 20, "epochs": 8} | changes)


@pytest.mark.parametrize("method", METHODS)
def test_leaving_an_example_out_moves_the_integer_sum_by_exactly_its_row_and_no_row_exceeds_the_clip(method):
    one, (x, y) = trainer(), tempting(7)
    grid = Grid(0.5, 1.0, one.layout.size)
    weights = one.initial().astype(np.float64)

    def total(chosen) -> np.ndarray:
        losses = AdversarialLosses(recipe(method), b"key")
        return one.integer_sum(weights, x, y, np.array(chosen), grid, losses=losses)

    rows = [total([i]) for i in range(7)]
    everybody = total(range(7))
    for i in range(7):
        np.testing.assert_array_equal(everybody - total([j for j in range(7) if j != i]), rows[i])
    unattacked = one.integer_sum(weights, x, y, np.arange(1), grid)
    assert not np.array_equal(rows[0], unattacked)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_carried_examples_owe_nothing_to_each_other_not_even_to_their_equals_of_another_class(norm):
    """Step after step, as the examples move on, leaving one out moves the integer sum by exactly its row."""
    one, (x, y) = trainer(), tempting(5)
    x[1], y[1] = x[0], (y[0] + 1) % 4
    grid, way = Grid(0.5, 1.0, one.layout.size), AdversarialRecipe(ball=Ball(0.1, norm, 0.0, 1.0), method="free")
    weights = [one.initial() + np.random.default_rng(i).normal(0, 0.05, one.layout.size) for i in range(5)]

    def sums(chosen) -> np.ndarray:
        carried, rows = Carried(x, way, b"key", every=4), []
        for at in weights:
            carried.next_step()
            rows.append(one.integer_sum(at, carried, y, np.array(chosen), grid, losses=carried))
        return np.array(rows)

    everybody = sums(range(5))
    for i in range(5):
        np.testing.assert_array_equal(everybody - sums([j for j in range(5) if j != i]), sums([i]))


def test_an_example_is_carried_on_through_its_epoch_and_starts_elsewhere_in_the_next():
    one, (x, y) = trainer(), tempting(3)
    module = one.module(one.initial())
    together, alone = (Carried(x, recipe("free"), b"key", every=2) for _ in range(2))
    places = []
    for _ in range(3):
        together.next_step()
        alone.next_step()
        at = torch.from_numpy(together[np.arange(3)])
        places.append(at.numpy())
        together(module, at, torch.from_numpy(y)).sum().backward()
        for i in range(3):
            by_itself = torch.from_numpy(alone[i : i + 1])
            torch.testing.assert_close(by_itself, at[i : i + 1], rtol=0, atol=1e-6)
            alone(module, by_itself, torch.from_numpy(y[i : i + 1])).sum().backward()
    first, second, anew = places
    starts = KeyedStarts(b"key")
    for number, place in ((1, first), (2, anew)):
        starts.step = number
        np.testing.assert_array_equal(place, started(torch.from_numpy(x), BALL, starts).numpy())
    assert np.abs(second - first).max() > 0.09
    assert np.abs(second - x).max() <= 0.1 + 1e-6


@pytest.mark.parametrize("rate", [1.0, 0.25])
def test_each_replay_is_a_release_that_is_drawn_taken_and_paid_for(rate, monkeypatch):
    free = private(adversarial="free", adversarial_epsilon=0.1, sampling_rate=rate)
    other = dataclasses.replace(free, adversarial="pgd")
    assert (free.steps, free.replays) == (4 * other.steps, 4)
    assert free.event == dataclasses.replace(other.event, steps=free.steps)
    one, (x, y), released = trainer(), tempting(6), []
    original = Grid.release
    monkeypatch.setattr(Grid, "release", lambda *given: released.append(1) or original(*given))
    one.train(one.initial(), x, y, free, seeded_stream(1, "d"), recipe("free"))
    assert len(released) == free.steps
    given = ["model.trainable=bias", "training.adversarial=free", f"privacy.sampling_rate={rate}"]
    noises = [noise_for(default_scenario([*given, f"training.epochs={epochs}"])) for epochs in (1, 4)]
    unreplayed = noise_for(default_scenario([given[0], "training.adversarial=pgd", given[2], "training.epochs=4"]))
    assert noises[0] == unreplayed < noises[1]


def test_without_privacy_each_batch_is_learned_from_four_times_in_a_row():
    seen = []
    plan = plain(adversarial="free", adversarial_epsilon=0.1, batch_size=2, epochs=1)

    def gradient(weights, batch, out) -> None:
        seen.append(batch.tolist())
        out[:] = 0

    descend(np.zeros(3), 5, gradient, plan, np.arange)
    assert seen == [[0, 1]] * 4 + [[2, 3]] * 4 + [[4]] * 4


def test_examples_that_are_none_are_left_out_and_raise_nothing_under_privacy():
    one, (x, y) = trainer(), tempting(4)
    x[0], y = np.nan, np.array([0, 9, -1, 2])
    delta = one.train(one.initial(), x, y, private(), seeded_stream(1, "d"), recipe("trades"))
    assert np.isfinite(delta).all()
    assert one.left_out == 6


@pytest.mark.parametrize("method", [*METHODS, "free"])
def test_a_device_that_trains_against_attacks_withstands_more_of_them(method):
    one, (x, y) = trainer(), tempting(240)
    test_x, test_y = (torch.from_numpy(part) for part in tempting(200, 7))

    def robust(adversarial) -> float:
        start = one.initial()
        plan = plain(epochs=2, adversarial="free", adversarial_epsilon=0.1) if method == "free" else plain()
        delta = one.train(start, x, y, plan, seeded_stream(1, "d"), adversarial)
        again = one.train(start, x, y, plan, seeded_stream(1, "d"), adversarial)
        assert delta.tobytes() == again.tobytes()
        module = one.module(start + delta)
        moved = pgd(module, test_x, test_y, BALL, steps=20, step_size=0.0125)
        with torch.no_grad():
            return float((module(moved).argmax(1) == test_y).float().mean())

    assert robust(recipe(method)) > robust(None) + 0.1


def test_the_same_example_starts_elsewhere_in_the_next_step():
    seen = []

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(64, 4)

        def forward(self, x):
            if x.requires_grad:
                seen.append(x.detach().clone())
            return self.head(x.flatten(1))

    one, (x, y) = NetworkTrainer(Watched()), tempting(3)
    one.train(one.initial(), x, y, plain(epochs=2, batch_size=3, learning_rate=1e-9), seeded_stream(1, "d"), recipe())
    first, second, *_ = (part.sort(0).values for part in seen)
    assert not torch.equal(first, second)


def test_a_round_that_overfits_to_single_steps_is_trained_anew_with_several_but_privacy_never_looks(monkeypatch):
    one, (x, y) = trainer(), tempting(40)
    asked = []

    def overfitted(*given) -> bool:
        asked.append(given)
        return True

    monkeypatch.setattr(network_module, "fools_itself", overfitted)
    found = one.train(one.initial(), x, y, plain(epochs=1), seeded_stream(1, "d"), recipe())
    assert len(asked) == 1
    stream = seeded_stream(1, "d")
    stream.bytes(32)
    stream.permutation(40)
    expected = one.train(one.initial(), x, y, plain(epochs=1), stream, recipe("pgd"))
    assert found.tobytes() == expected.tobytes()
    one.train(one.initial(), x, y, private(), seeded_stream(1, "d"), recipe())
    assert len(asked) == 1


def test_what_is_trained_anew_for_free_learns_from_each_batch_once(monkeypatch):
    """Seven steps of attack for each of four replays would cost eight times what ``free`` does."""
    one, (x, y) = trainer(), tempting(40)
    monkeypatch.setattr(network_module, "fools_itself", lambda *given: True)
    plan = plain(epochs=1, adversarial="free", adversarial_epsilon=0.1)
    found = one.train(one.initial(), x, y, plan, seeded_stream(1, "d"), recipe("free"))
    stream = seeded_stream(1, "d")
    stream.bytes(32)
    stream.permutation(40)
    pgd_plan = dataclasses.replace(plan, adversarial="pgd")
    expected = one.train(one.initial(), x, y, pgd_plan, stream, recipe("pgd"))
    assert found.tobytes() == expected.tobytes()


@pytest.fixture(scope="module", autouse=True)
def importable():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        yield
    sys.modules.pop("tiny_tasks", None)


@pytest.mark.parametrize(
    ("mode", "unit", "method"),
    [
        ("full", "none", "pgd"),
        ("bias", "example", "trades"),
        ("bias", "example", "free"),
        ("qat", "none", "fgsm_rs"),
        ("head", "example", "pgd"),
        ("head", "none", "free"),
    ],
)
def test_federations_train_against_attacks(mode, unit, method, tmp_path):
    import tiny_tasks

    attacked = (f"training.adversarial={method}", "training.adversarial_epsilon=0.2")
    results = []
    for overrides in ((), attacked):
        asked = tiny_tasks.scenario(mode, "TinyPictures", unit, *overrides)
        folder = launch(asked, engine="inprocess", parent=tmp_path)
        assert [record.accepted for record in folder.rounds()] == [("device-0", "device-1", "device-2")] * 2
        (checkpoint,) = (folder.path / "checkpoint").glob("*.safetensors")
        results.append((json.loads((folder.path / "result.json").read_text()), checkpoint.read_bytes()))
    assert results[0][1] != results[1][1]
    if unit == "example":
        plainly, moved = (result["privacy"] for result, _ in results)
        if method == "free":  # four times the steps, so more noise in each: within the same budget
            assert moved["noise_multiplier"] == pytest.approx(2 * plainly["noise_multiplier"], rel=0.01)
            assert moved["epsilon_rdp"] == pytest.approx(plainly["epsilon_rdp"], rel=0.01)
        else:
            assert moved["epsilon_rdp"] == plainly["epsilon_rdp"]


def test_models_without_gradients_down_to_the_input_are_none_to_attack(tmp_path):
    import tiny_tasks

    data = tiny_tasks.TinyWindows(TaskConfig(), ModelConfig())
    assert attack_ball(data, 0.1) == Ball(0.1)
    models = {}
    for mode in ("head", "tail", "bias"):
        chosen = tiny_tasks.config(mode)
        models[mode] = load_local_model(chosen, build_local_model(chosen, data, store=tmp_path), data, tmp_path)
    assert {mode: withstands(model) for mode, model in models.items()} == {"head": True, "tail": False, "bias": True}
    examples = data.local_data("device-0")
    tail = models["tail"]
    plan = dataclasses.replace(plain(), adversarial="pgd", adversarial_epsilon=0.1)
    with pytest.raises(InputError, match="tail"):
        tail.train(tail.initial(), tail.prepare(examples.x), examples.y, plan, seeded_stream(1, "d"))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("model.trainable=head", "training.views=2"), "one view"),
        (("model.trainable=head", "audit.canaries=10"), "audit of a head"),
        (("model.trainable=tail",), "gradients down to the input"),
        (("model.trainable=full", "model.architecture=cnn", "privacy.unit=none"), "gradients down to the input"),
        (("model.trainable=full", "privacy.engine=bookkeeping"), "knows no attacks"),
        (("model.trainable=full", "training.adversarial_epsilon=0"), "adversarial_epsilon"),
    ],
)
def test_scenarios_that_cannot_train_against_attacks_are_refused(overrides, said):
    with pytest.raises(ScenarioError, match=said):
        default_scenario(["training.adversarial=pgd", *overrides])
    for trainable in ("head", "full"):
        default_scenario(["training.adversarial=pgd", f"model.trainable={trainable}"])
