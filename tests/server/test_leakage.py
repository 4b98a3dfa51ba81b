"""What a device sends tells no example, and the tools that say so do find examples where nothing protects them."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from skerry.clock import system_clock
from skerry.config import default_scenario
from skerry.device.basemodel import BaseModel
from skerry.device.tasks.metrics import softmax
from skerry.device.tasks.pictures import normalisation, resize_matrix
from skerry.device.training.head import HeadTrainer
from skerry.device.worker import process_worker
from skerry.errors import InputError, RefusedError
from skerry.runfolder import RunFolder
from skerry.security.privacy.audit import attack_strength
from skerry.security.privacy.stream import seeded_stream
from skerry.server.leakage import (
    Decoder,
    Exchange,
    Guess,
    Seen,
    always_wrong_head,
    gaussian_tpr,
    infer_label,
    matched_psnr,
    membership_scores,
    psnr,
    reconstruct_rows,
    reconstruct_trapped,
    shadow_runs,
    trap_heads,
)
from skerry.server.prepare import prepare
from skerry.strategies import parse_rule

DEVICES = ("writer-00", "writer-05")


@dataclass
class World:
    """The shipped scenario in two rounds of one step that its devices answered, devices not asked yet, public data."""

    exchange: Exchange
    model: Any
    task: Any
    base: BaseModel
    guess: Guess
    rows: np.ndarray
    pictures: np.ndarray
    honest: dict[str, list[Seen]]

    def local(self, device: str) -> tuple[np.ndarray, np.ndarray]:
        return process_worker().local_inputs(device, self.task, self.model)

    @property
    def bare(self):
        """The plan without noise: a device refuses it."""
        return dataclasses.replace(self.exchange.plan, noise_multiplier=1e-4)

    def unprotected(self, device: str, number: int, vector: np.ndarray) -> Seen:
        rows, labels = self.local(device)
        stream = seeded_stream(0, device, number)
        return Seen(vector, self.model.train(vector, rows, labels, self.bare, stream), self.bare)

    def left(self, found: np.ndarray, true: np.ndarray, label: int) -> float:
        """Distance from the truth over that of the guess: 1 is nothing learned, 0 everything."""
        return float(np.linalg.norm(found - true[:-1]) / np.linalg.norm(self.guess.means[label] - true[:-1]))


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    scenario = default_scenario(["rounds=2", "training.epochs=1", "attack.devices=0", "report.references=false"])
    spent, fresh = (RunFolder.create(tmp_path_factory.mktemp("runs"), scenario, engine="inprocess") for _ in range(2))
    prepared, _ = (prepare(folder, system_clock, process_worker()) for folder in (spent, fresh))
    first, exchange = (Exchange(f, prepared.model, process_worker(), system_clock) for f in (spent, fresh))
    public = prepared.task.public_data()
    some = slice(None, None, 8)
    rows, pictures = prepared.model.prepare(public.x[some]), public.x[some][..., 0] / 255
    honest = first.run(prepared.task.devices())
    base, guess = BaseModel.load(prepared.model.digest), Guess.of(rows, public.y[some], 10)
    return World(exchange, prepared.model, prepared.task, base, guess, rows, pictures, honest)


def test_one_example_without_noise_is_found_whole_with_its_class(world: World):
    rows, labels = world.local(DEVICES[0])
    for i in range(3):
        one = slice(i, i + 1)
        delta = world.model.train(world.model.initial(), rows[one], labels[one], world.bare, seeded_stream(i, "x"))
        seen = Seen(world.model.initial(), delta, world.bare)
        label = infer_label(seen.gradient, rows.shape[1])
        assert label == labels[i]
        found = reconstruct_rows([seen], np.array([label]), world.guess, constant=world.base.bias)
        assert world.left(found[0], rows[i], label) < 0.2


def test_the_updates_of_a_device_tell_no_example_even_to_who_knows_all_others(world: World):
    left = []
    for device in DEVICES:
        rows, labels = world.local(device)
        for target in range(0, 120, 20):
            others = np.arange(len(labels)) != target
            found = reconstruct_rows(
                world.honest[device], labels[[target]], world.guess, constant=world.base.bias,
                known=(rows[others], labels[others]),
            )  # fmt: skip
            left.append(world.left(found[0], rows[target], labels[target]))
    assert np.mean(left) > 0.97


def test_who_knows_all_others_finds_the_last_one_where_there_is_no_noise(world: World):
    rows, labels = world.local(DEVICES[0])
    target = 40
    others = np.arange(len(labels)) != target
    seen = [world.unprotected(DEVICES[0], 1, world.model.initial())]
    given = {"constant": world.base.bias, "known": (rows[others], labels[others])}
    found = reconstruct_rows(seen, labels[[target]], world.guess, **given)
    assert world.left(found[0], rows[target], labels[target]) < 0.5


def _trapped(world: World, ask: Callable[..., Seen]) -> list[float]:
    left = []
    for device in world.task.devices()[2:8]:
        rows, labels = world.local(device)
        direction = np.random.default_rng(3).normal(size=rows.shape[1] - 1)
        direction /= np.linalg.norm(direction)
        along = rows[:, :-1] @ direction
        target = int(along.argmax())
        heads = trap_heads(direction, float(np.sort(along)[-2:].mean()), 100.0, 10, world.base.bias)
        first, second = (ask(device, 11 + i, head) for i, head in enumerate(heads))
        row = reconstruct_trapped(
            first, second, labels[target], world.guess, constant=world.base.bias,
            length=float(np.linalg.norm(world.rows, axis=1).mean()),
        )  # fmt: skip
        left.append(world.left(row, rows[target], labels[target]))
    return left


def test_trap_weights_give_an_example_away_only_where_there_is_no_noise(world: World):
    """The devices follow the instructions: nothing tells a trap from an honest head. Clip and noise are their own."""
    assert max(_trapped(world, world.unprotected)) < 0.1
    assert np.mean(_trapped(world, lambda *asked: world.exchange.ask(*asked, world.exchange.plan))) > 0.97
    device = world.task.devices()[2]
    with pytest.raises(RefusedError) as caught:  # two rounds were the budget
        world.exchange.ask(device, 13, world.model.initial(), world.exchange.plan)
    assert caught.value.reason == "budget_exceeded"


def _informed_trap(world: World, ask: Callable[..., Seen]) -> list[float]:
    left = []
    for device in (*world.task.devices()[:2], *world.task.devices()[8:]):
        rows, labels = world.local(device)
        head = always_wrong_head((int(labels[40]) + 1) % 10, 10, rows.shape[1])
        others = np.arange(len(labels)) != 40
        found = reconstruct_rows(
            [ask(device, 21 + i, head) for i in range(2)], labels[[40]], world.guess, constant=world.base.bias,
            known=(rows[others], labels[others]),
        )  # fmt: skip
        left.append(world.left(found[0], rows[40], labels[40]))
    return left


def test_the_strongest_step_and_all_other_examples_known_still_tell_next_to_nothing(world: World):
    assert max(_informed_trap(world, world.unprotected)) < 0.1
    assert np.mean(_informed_trap(world, lambda *asked: world.exchange.ask(*asked, world.exchange.plan))) > 0.95


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling_rate": 0.1},
        {"momentum": 0.5},
        {"proximal": 0.1},
        {"views": 2},
        {"adversarial": "pgd", "adversarial_epsilon": 0.1},
        {"unit": "none"},
    ],
)
def test_updates_that_tell_another_sum_are_no_false_comfort_but_an_error(world: World, changes):
    """Each of these changes what an update is; the attacks would take it for what it is not, and find nothing."""
    plan = dataclasses.replace(world.exchange.plan, **changes)
    head = world.model.initial()
    with pytest.raises(InputError, match="says nothing"):
        Seen(head, np.zeros_like(head), plan)
    with pytest.raises(InputError, match="says nothing"):
        world.exchange.ask(world.task.devices()[0], 31, head, plan)  # before the device pays for it


def test_the_sum_that_a_seen_update_tells_is_that_of_the_clipped_gradients(world: World):
    rows, labels = world.local(DEVICES[0])
    head, plan = world.model.initial(), dataclasses.replace(world.bare, clip=1e-2)
    seen = Seen(head, world.model.train(head, rows, labels, plan, seeded_stream(0, "sum")), plan)
    errors = softmax(rows.astype(np.float64) @ head.reshape(10, -1).T)
    errors[np.arange(len(labels)), labels] -= 1
    gradients = (errors[:, :, None] * rows[:, None, :]).reshape(len(rows), -1)
    gradients *= np.minimum(1, plan.clip / np.linalg.norm(gradients, axis=1, keepdims=True))
    np.testing.assert_allclose(seen.gradient, gradients.sum(0), atol=0.01 * np.abs(gradients.sum(0)).max())


@pytest.mark.parametrize(
    "change", ["training.schedule=cosine", "training.server_learning_rate=0.5", "training.server_momentum=0.5"]
)
def test_rounds_that_the_coordinator_would_not_take_like_that_are_not_watched(change, world: World, tmp_path):
    folder = RunFolder.create(tmp_path, default_scenario(["report.references=false", change]), engine="inprocess")
    prepared = prepare(folder, system_clock, process_worker())
    with pytest.raises(InputError, match="one plan"):
        Exchange(folder, prepared.model, process_worker(), system_clock).run(prepared.task.devices()[:1])


def test_pixels_follow_from_rows_and_a_search_comes_nearer(world: World):
    rows, _ = world.local(DEVICES[0])
    true = world.task.local_data(DEVICES[0]).x[:2, ..., 0] / 255
    mean, scale = normalisation(default_scenario([]).model)
    decoder = Decoder(
        world.base, world.rows[:, :-1], world.pictures, enlarge=resize_matrix(8, 64), mean=mean, scale=scale
    )
    pictures = decoder.linear(rows[:2, :-1]), decoder.search(rows[:2, :-1], 15)
    linear, searched = (psnr(found, true).mean() for found in pictures)
    assert linear > psnr(np.broadcast_to(world.pictures.mean(0), true.shape), true).mean() + 2
    assert searched > linear + 0.5


def test_psnr_and_the_best_pairs_within_a_class():
    true = np.zeros((3, 4, 4))
    assert psnr(true + 0.1, true) == pytest.approx([20.0] * 3)
    pictures = np.random.default_rng(0).random((4, 8, 8))
    shuffled = pictures[[1, 0, 3, 2]]
    assert matched_psnr(shuffled, pictures, np.array([0, 0, 1, 1])).min() == pytest.approx(120)
    assert matched_psnr(shuffled, pictures, np.array([0, 1, 2, 3])).max() < 20  # no pairs across classes


def test_likelihood_ratios_reach_what_a_gaussian_allows_and_nothing_where_scores_tell_nothing():
    draw = np.random.default_rng(0)
    inside = draw.random((40, 1000)) < 0.5
    places = draw.normal(scale=10, size=1000)  # every example has scores of its own: a common threshold is blind

    def strength(shift: float):
        scores = membership_scores(places + shift * inside + draw.normal(size=inside.shape), inside)
        return attack_strength(scores[inside], scores[~inside], (0.01,))

    assert strength(1.5).tpr[0.01][0] == pytest.approx(gaussian_tpr(1.5, 0.01), abs=0.05)
    assert strength(0.0).auc == pytest.approx(0.5, abs=0.01)  # a run is not among its own shadows
    assert gaussian_tpr(0.0, 0.01) == pytest.approx(0.01)
    with pytest.raises(InputError, match="one shape"):
        membership_scores(np.zeros((3, 2)), inside)
    with pytest.raises(InputError, match="shadow runs"):
        membership_scores(np.zeros((3, 2)), np.zeros((3, 2), bool))


def test_members_are_told_by_updates_without_noise_and_no_better_than_the_price_says_with_it(world: World):
    data = {device: tuple(part[:40] for part in world.local(device)) for device in DEVICES}
    plan = world.exchange.plan

    def strength(plan):
        found = shadow_runs(
            data, HeadTrainer(10, world.rows.shape[1]), world.model.initial(), plan, parse_rule("mean", tolerate=0),
            rounds=2, runs=24, seed=0,
        )  # fmt: skip
        scores = membership_scores(found.by_rest, found.inside)
        usable = ~np.isnan(scores)
        return attack_strength(scores[usable & found.inside], scores[usable & ~found.inside], (0.01, 0.1))

    assert strength(world.bare).tpr[0.1][1] > 0.9
    private, mu = strength(plan), math.sqrt(2 * plan.steps) / plan.noise_multiplier
    for rate, (_, low, _) in private.tpr.items():
        assert low <= gaussian_tpr(mu, rate)
    assert private.auc > 0.55  # the attack is no straw man
