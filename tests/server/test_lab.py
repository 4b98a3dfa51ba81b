"""The attack lab: its task, its gradients, and that defences are needed and work on it."""

import doctest
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import skerry.server.tolerance as tolerance
from skerry.errors import InputError, ScenarioError
from skerry.server.lab import (
    BACKDOORS,
    Defence,
    Grid,
    Outcome,
    Setting,
    check,
    heatmap,
    load_grid,
    run_grid,
    train,
    worst_first,
)
from skerry.server.lab.cell import hostile_places
from skerry.server.lab.cleaning import clean, module, try_network
from skerry.server.lab.grid import Cell
from skerry.server.lab.mnist1d import LENGTH, Examples, mnist1d
from skerry.server.lab.network import Perceptron
from skerry.server.lab.poisons import poisoned, trigger_of
from skerry.server.tolerance import rule_for

SHORT = Setting(honest=9, hostile=2, steps=60)
DEFAULT = Defence("nnm+trimmed_mean", ("norm", "similarity", "cosine"))


def test_the_task_is_repeatable_balanced_and_standardised() -> None:
    (train_set, test_set), (again, _) = mnist1d(3, train=400, test=100), mnist1d(3, train=400, test=100)
    np.testing.assert_array_equal(train_set.features, again.features)
    labels = np.concatenate([train_set.labels, test_set.labels])
    assert (np.bincount(labels) == 50).all()
    features = np.concatenate([train_set.features, test_set.features])
    assert features.mean() == pytest.approx(0, abs=1e-4)
    assert features.std() == pytest.approx(1, abs=1e-4)
    assert (mnist1d(4, train=400, test=100)[0].features != train_set.features).any()


def test_gradients_are_those_of_torch_for_every_device() -> None:
    rng = np.random.default_rng(0)
    network = Perceptron((6, 5, 4, 3))
    parameters = network.initial(rng)
    features = rng.normal(size=(4, 7, 6)).astype(np.float32)
    labels = rng.integers(3, size=(4, 7))
    found = network.gradients(parameters, features, labels)
    for device in range(4):
        flat = torch.tensor(parameters, requires_grad=True)
        hidden, begin = torch.tensor(features[device]), 0
        for a, b in ((6, 5), (5, 4), (4, 3)):
            weight, bias = flat[begin : begin + a * b].reshape(a, b), flat[begin + a * b : begin + a * b + b]
            hidden, begin = hidden @ weight + bias, begin + a * b + b
            hidden = torch.relu(hidden) if b != 3 else hidden
        torch.nn.functional.cross_entropy(hidden, torch.tensor(labels[device])).backward()
        np.testing.assert_allclose(found[device], flat.grad.numpy(), atol=1e-6)


def test_the_same_arguments_give_the_same_outcome() -> None:
    assert train(DEFAULT, "random", SHORT, 1) == train(DEFAULT, "random", SHORT, 1)
    assert train(DEFAULT, "none", SHORT, 1) != train(DEFAULT, "none", SHORT, 2)


def test_hostile_devices_may_stand_anywhere_in_the_order_of_names() -> None:
    drawn = np.array([hostile_places(SHORT, seed) for seed in range(100)])
    assert (drawn.sum(axis=1) == SHORT.hostile).all()
    assert drawn.any(axis=0).all()
    np.testing.assert_array_equal(hostile_places(SHORT, 7), drawn[7])


def test_of_a_copied_device_and_its_copies_the_first_by_name_keeps_its_vote() -> None:
    """Also where that is a copy, and the honest device pays for it."""
    first = next(seed for seed in range(100) if hostile_places(SHORT, seed)[0])
    later = next(seed for seed in range(100) if not hostile_places(SHORT, seed)[0])
    outcomes = [train(DEFAULT, "mimic", SHORT, seed) for seed in (first, later)]
    assert [(outcome.caught, outcome.wronged) for outcome in outcomes] == [(1, 1), (2, 0)]


def test_an_attack_that_ruins_the_mean_does_not_ruin_the_defence() -> None:
    setting = Setting(honest=9, hostile=4, steps=80)
    ruined, kept = train(Defence("mean"), "ipm", setting, 2), train(DEFAULT, "ipm", setting, 2)
    assert kept.accuracy > ruined.accuracy + 0.1
    assert kept.wronged == 0


@pytest.mark.parametrize("attack", ["nan", "inf"])
def test_rows_without_numbers_never_reach_a_rule(attack: str) -> None:
    outcome = train(Defence("mean"), attack, SHORT, 0)
    assert outcome.caught == 2
    assert outcome.accuracy > 0.2


@pytest.mark.parametrize("attack", ["clones", "scaled_clones", "scaled_ipm"])
def test_clones_keep_one_vote(attack: str) -> None:
    outcome = train(DEFAULT, attack, SHORT, 0)
    assert outcome.caught == 1
    assert outcome.dropped == pytest.approx(0.5)
    assert outcome.dropped_honest == 0


@pytest.mark.parametrize("attack", ["clones", "scaled_ipm"])
def test_copies_have_no_effect_beyond_the_one_vote_of_one_of_them(attack: str) -> None:
    """The rule needs eleven rows of the twelve until four copies count as found: no round may be lost for that."""
    copies = Setting(honest=7, hostile=5, steps=40)
    alone = replace(copies, silent=4)
    eight, one = train(DEFAULT, attack, copies, 0), train(DEFAULT, attack, alone, 0)
    assert eight.accuracy == one.accuracy
    np.testing.assert_array_equal(eight.parameters, one.parameters)
    unscreened = Defence(DEFAULT.aggregator)
    assert train(unscreened, attack, copies, 0).accuracy != train(unscreened, attack, alone, 0).accuracy


def test_silent_devices_are_none_that_a_screen_has_found() -> None:
    outcome = train(DEFAULT, "none", replace(SHORT, silent=2), 0)
    assert outcome.dropped == 0
    assert (outcome.caught, outcome.wronged) == (0, 0)


@pytest.mark.parametrize("attack", BACKDOORS)
def test_a_backdoor_says_how_often_its_trigger_works(attack: str) -> None:
    planted = train(Defence("mean"), attack, SHORT, 0)
    assert planted.success is not None
    assert planted.success > 0.2
    assert train(Defence("mean"), "none", SHORT, 0).success is None


def test_a_distributed_trigger_is_in_parts_and_a_hostile_device_alone_has_the_whole() -> None:
    data = Examples(np.zeros((4, LENGTH), np.float32), np.arange(4))
    parts = [poisoned("dba", data, number, 3).features for number in range(3)]
    places = [set(np.flatnonzero(part.any(axis=0)).tolist()) for part in parts]
    assert set.union(*places) == set(trigger_of(0).places)
    assert sum(len(some) for some in places) == len(trigger_of(0).places)
    np.testing.assert_array_equal(poisoned("dba", data, 0, 1).features, poisoned("backdoor", data, 0, 1).features)
    np.testing.assert_array_equal(poisoned("label_flip", data, 0, 1).labels, [9, 8, 7, 6])
    assert poisoned("ipm", data, 0, 1) is data


def test_cleaning_takes_most_of_a_backdoor_out_of_the_lab_s_network() -> None:
    planted = train(Defence("mean"), "backdoor", Setting(honest=9, hostile=2, steps=150, target=4), 0)
    assert planted.success is not None
    network, after = module(planted.parameters), clean(planted.parameters, 0, target=4)
    assert try_network(network, 0, 4) == (planted.accuracy, pytest.approx(planted.success))
    assert planted.success > 0.8
    assert after.success < 0.2
    assert 4 in after.unlearned
    assert after.left is not None
    assert 0 <= after.left <= 1
    assert after.accuracy > planted.accuracy - 0.02


def test_devices_in_quarantine_do_not_disarm_the_rule_while_there_are_rows_enough() -> None:
    def tolerated(rows: int) -> float:
        rule = rule_for("trimmed_mean", tolerate=2, out=2, rows=rows, seed=0)
        return float(rule(np.array([[0.0]] * (rows - 1) + [[1e6]], np.float32))[0])

    assert tolerated(9) == tolerated(5) == tolerated(4) == 0
    assert tolerated(2) > 0
    assert rule_for("trimmed_mean", tolerate=2, out=0, rows=1, seed=0).minimum() == 5
    assert doctest.testmod(tolerance).failed == 0


def test_a_grid_file_is_checked_before_anything_runs(tmp_path) -> None:
    path = tmp_path / "grid.toml"
    for text, error, told in (
        ('attacks = ["ipn"]', InputError, "ipn"),
        ('aggregators = ["median", "krumm"]', ScenarioError, "krumm"),
        ('screen = ["nrm"]', ScenarioError, "nrm"),
        ("seed = 3", ScenarioError, "seed"),
        ("honest = 3\nhostile = 3", ScenarioError, "needs 7 devices"),
        ("alphas = []", ScenarioError, "alphas"),
    ):
        path.write_text(text)
        with pytest.raises(error, match=told):
            load_grid(path)
    with pytest.raises(ScenarioError, match="cannot be read"):
        load_grid(tmp_path / "nothing.toml")
    path.write_text("")
    assert "adaptive" in load_grid(path).attacks


def small() -> Grid:
    return Grid(
        aggregators=("mean", "median"),
        attacks=("none", "scaling"),
        honest=5,
        hostile=1,
        steps=5,
        seeds=2,
        alphas=(0.3, 5.0),
    )


def test_a_grid_gives_a_cell_for_every_combination_and_tells_its_progress() -> None:
    told: list[tuple[int, int]] = []
    cells = run_grid(small(), lambda done, of: told.append((done, of)))
    assert [(c.alpha, c.aggregator, c.attack) for c in cells[:4]] == [
        (0.3, "mean", "none"), (0.3, "mean", "scaling"), (0.3, "median", "none"), (0.3, "median", "scaling"),
    ]  # fmt: skip
    assert len(cells) == 8
    assert told == [(number, 16) for number in range(16)]
    json.dumps([cell.to_json() for cell in cells], allow_nan=False)


@pytest.mark.parametrize("alpha", [0.3, 100.0])
def test_honest_devices_with_three_examples_keep_their_place(alpha: float) -> None:
    """Their updates are long, and no mixture of what many examples have in common; that is no hostility."""
    setting = Setting(steps=60, few=3, alpha=alpha)
    for screen in (DEFAULT.screen, (*DEFAULT.screen, "root_set")):
        for seed in (0, 1):
            assert train(replace(DEFAULT, screen=screen), "none", setting, seed).wronged_few == 0


def test_the_page_puts_the_best_rule_and_the_worst_attack_first() -> None:
    def cell(rule: str, attack: str, accuracy: float, success: float | None = None) -> Cell:
        return Cell(rule, attack, 0.3, (Outcome(accuracy, success, 0, 0, 0.0, 0.0, np.empty(0, np.float32)),))

    cells = [
        cell("mean", "none", 0.9), cell("mean", "ipm", 0.1), cell("mean", "nan", 0.5),
        cell("<rule>", "none", 0.8), cell("<rule>", "ipm", 0.7), cell("<rule>", "nan", 0.6),
    ]  # fmt: skip
    assert worst_first(cells) == (["<rule>", "mean"], ["nan", "ipm", "none"])
    page = heatmap(Grid(seeds=1), cells)
    assert "&lt;rule&gt;" in page
    assert "<rule>" not in page
    assert page.index("&lt;rule&gt;") < page.index(">mean<")
    assert page.count('class="worst"') == 2
    assert "<script" not in page
    assert "http" not in page
    assert ">75.0 (98)</td>" in heatmap(Grid(seeds=1), [cell("mean", "backdoor", 0.75, 0.98)])


def test_the_default_grid_passes_its_own_check() -> None:
    check(Grid())
