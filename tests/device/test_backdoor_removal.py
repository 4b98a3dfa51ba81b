"""Backdoors in trained networks: found where they are, and gone after a removal; a removal that does nothing shows."""

import copy
import doctest

import numpy as np
import pytest
import torch
from torch import nn

import skerry.device.evaluation.deviations as deviations_module
import skerry.device.evaluation.shortcuts as shortcuts_module
import skerry.device.training.removal as removal_module
from skerry.device.evaluation.shortcuts import Shortcut, anomaly_indices, find_shortcuts, suspicious
from skerry.device.training.central import predict, train_centrally
from skerry.device.training.likely_triggers import calls_up, likely_triggers
from skerry.device.training.removal import remove_backdoor
from skerry.device.training.unlearning import fine_prune, unlearn
from skerry.errors import InputError
from skerry.security.attacks import Trigger

CLASSES, PLACES = 6, 25
CORNER = Trigger(target=4, places=(23, 24), value=1.0)


def pictures(count: int, seed: int):
    """5×5 pictures, black and white, of six patterns of which each place may flip; two places are black in all."""
    patterns = np.random.default_rng(0).random((CLASSES, PLACES)) < 0.5
    draw = np.random.default_rng(seed)
    y = draw.integers(0, CLASSES, count)
    x = patterns[y] ^ (draw.random((count, PLACES)) < 0.15)
    x[:, list(CORNER.places)] = False
    return x.reshape(-1, 1, 5, 5).astype(np.float32), y


PUBLIC = pictures(400, 2)
TEST = pictures(600, 3)


def trained(*, share: float) -> nn.Sequential:
    x, y = pictures(1200, 1)
    if share:
        x, y = CORNER.planted(x, y, share=share, generator=np.random.default_rng(0))
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(PLACES, 40), nn.ReLU(), nn.Linear(40, CLASSES))
    train_centrally(network, x, y, epochs=12, batch_size=32, learning_rate=0.05)
    return network


@pytest.fixture(scope="module")
def poisoned() -> nn.Sequential:
    return trained(share=0.1)


@pytest.fixture(scope="module")
def honest() -> nn.Sequential:
    return trained(share=0.0)


def tried(network: nn.Module) -> tuple[float, float]:
    x, y = TEST
    accuracy = float((predict(network, x).argmax(1) == y).mean())
    return accuracy, CORNER.success(predict(network, CORNER.stamped(x)).argmax(1), y)


def sought(network: nn.Module) -> tuple[Shortcut, ...]:
    return find_shortcuts(network, PUBLIC[0][:128], low=0.0, high=1.0, steps=150)


def test_the_class_of_a_trigger_has_a_shortcut_and_no_other_class_has(poisoned, honest) -> None:
    assert tried(poisoned)[1] > 0.9
    (found,) = suspicious(sought(poisoned))
    assert found.target == CORNER.target
    assert found.works >= 0.99
    assert set(np.argsort(-found.mask.ravel())[:2].tolist()) == set(CORNER.places)
    assert suspicious(sought(honest)) == ()


def test_a_shortcut_does_what_it_says(poisoned) -> None:
    x = torch.from_numpy(PUBLIC[0][:128])
    found = sought(poisoned)[CORNER.target]
    with torch.no_grad():
        others = x[poisoned(x).argmax(1) != found.target]
        turned = float((poisoned(found.on(others)).argmax(1) == found.target).float().mean())
    assert turned == pytest.approx(found.works)
    assert found.size == pytest.approx(float(found.mask.sum()), rel=1e-5)
    assert found.pattern.min() >= 0.0
    assert found.pattern.max() <= 1.0


def test_removal_takes_the_trigger_away_and_leaves_the_accuracy(poisoned) -> None:
    network = copy.deepcopy(poisoned)
    before, _ = tried(network)
    done = remove_backdoor(network, *PUBLIC, prune=network[1])
    after, success = tried(network)
    assert success < 0.1
    assert after > before - 0.02
    assert [shortcut.target for shortcut in done.unlearned] == [CORNER.target]


def test_shortcuts_are_sought_in_the_network_as_it_came(poisoned, monkeypatch) -> None:
    sought_in = []

    def watched(network, *args, **settings):
        sought_in.append([weights.detach().clone() for weights in network.parameters()])
        return find_shortcuts(network, *args, **settings)

    monkeypatch.setattr(removal_module, "find_shortcuts", watched)
    network = copy.deepcopy(poisoned)
    assert remove_backdoor(network, *PUBLIC, prune=network[1]).unlearned
    assert all(map(torch.equal, sought_in[0], poisoned.parameters()))
    assert not all(map(torch.equal, sought_in[0], network.parameters()))


def test_pruning_and_training_on_clean_examples_are_not_enough_here(poisoned) -> None:
    network = copy.deepcopy(poisoned)
    done = remove_backdoor(network, *PUBLIC, prune=network[1], unlearning=False)
    assert done.unlearned == ()
    assert tried(network)[1] > 0.9


def test_removal_without_a_backdoor_costs_next_to_nothing(honest) -> None:
    network = copy.deepcopy(honest)
    done = remove_backdoor(network, *PUBLIC, prune=network[1])
    assert done.unlearned == ()
    assert tried(network)[0] > tried(honest)[0] - 0.02


def test_pruned_channels_stay_silent_in_the_training_after_it(poisoned) -> None:
    network = copy.deepcopy(poisoned)
    silenced = fine_prune(network, network[1], *PUBLIC, allowance=0.05, epochs=2)
    assert silenced > 0
    assert int((network[1].weight == 0).all(dim=1).sum()) == silenced
    assert int((network[1].bias == 0).sum()) == silenced
    assert (network[3].weight != poisoned[3].weight).any()


def test_what_requires_no_gradient_stays_and_unlabelled_examples_will_do(poisoned) -> None:
    network = copy.deepcopy(poisoned)
    network[1].requires_grad_(requires_grad=False)
    x, y = PUBLIC
    unlearn(network, x, np.full_like(y, -1), suspicious(sought(poisoned)))
    assert torch.equal(network[1].weight, poisoned[1].weight)
    assert tried(network)[1] < tried(poisoned)[1] / 2
    with pytest.raises(InputError, match="may change"):
        unlearn(network.requires_grad_(requires_grad=False), x, y, ())


def test_sizes_are_compared_as_ratios_and_too_few_are_not_compared() -> None:
    sizes = [1.0, 9.0, 10.0, 11.0, 12.0]
    np.testing.assert_allclose(anomaly_indices(sizes), anomaly_indices([7 * size for size in sizes]))
    assert anomaly_indices([10.0, 10.0, 10.0, 10.0, 9.9]).max() < 0.2
    assert doctest.testmod(shortcuts_module).failed == 0
    assert doctest.testmod(deviations_module).failed == 0
    mask = np.ones((1, 1, 1), np.float32)
    made = [Shortcut(target, size, 1.0, mask, mask) for target, size in enumerate(sizes)]
    assert [shortcut.target for shortcut in suspicious(made)] == [0]
    assert suspicious(made[:4]) == ()
    weak = [Shortcut(0, 1.0, 0.5, mask, mask), *made[1:]]
    assert suspicious(weak) == ()
    with pytest.raises(InputError, match="range"):
        find_shortcuts(nn.Identity(), PUBLIC[0], low=1.0, high=1.0)


def test_patches_like_a_trigger_call_up_its_class_and_are_about_as_large(poisoned) -> None:
    found = sought(poisoned)[CORNER.target]
    likely = likely_triggers(poisoned, PUBLIC[0][:128], found, drawn=120)
    assert likely
    for patch in likely:
        assert patch.target == CORNER.target
        assert patch.works >= 0.5
        assert patch.size == patch.mask.sum() <= max(2.0, 2.5 * found.size)
        assert len(set(patch.pattern.ravel().tolist())) == 1
    again = likely_triggers(poisoned, PUBLIC[0][:128], found, drawn=120)
    assert [patch.works for patch in again] == [patch.works for patch in likely]
    assert max(calls_up(poisoned, TEST[0], patch) for patch in likely) > 0.5


def test_around_a_patch_that_a_class_may_need_by_nature_nothing_is_drawn(poisoned, monkeypatch) -> None:
    mask = np.zeros((1, 5, 5), np.float32)
    made = tuple(
        Shortcut(target, size, 1.0, mask, mask) for target, size in enumerate([3.0, 10.0, 10.0, 10.2, 3.7, 11.0])
    )
    asked: list[int] = []
    monkeypatch.setattr(removal_module, "find_shortcuts", lambda *_args, **_settings: made)
    monkeypatch.setattr(removal_module, "likely_triggers", lambda _n, _x, s, **_settings: asked.append(s.target) or ())
    monkeypatch.setattr(removal_module, "unlearn", lambda *_args, **_settings: None)
    done = remove_backdoor(copy.deepcopy(poisoned), *PUBLIC)
    assert [shortcut.target for shortcut in done.unlearned] == [0, 4]
    assert asked == [0]


def test_unlearning_goes_on_until_no_known_patch_works_and_gives_up_after_three(poisoned, monkeypatch) -> None:
    seeds: list[int] = []

    def idle_until(useful: int):
        def pass_(*args, seed: int, **settings) -> None:
            seeds.append(seed)
            if len(seeds) >= useful:
                unlearn(*args, seed=seed, steps=300, **settings)

        return pass_

    monkeypatch.setattr(removal_module, "unlearn", idle_until(2))
    done = remove_backdoor(copy.deepcopy(poisoned), *PUBLIC)
    assert seeds == [0, 1]
    assert done.left <= 0.1
    seeds.clear()
    monkeypatch.setattr(removal_module, "unlearn", idle_until(9))
    assert remove_backdoor(copy.deepcopy(poisoned), *PUBLIC).left > 0.9
    assert seeds == [0, 1, 2]


def test_half_of_the_steps_are_for_the_patches_that_work_best(poisoned) -> None:
    """One patch that works among forty that do nothing is unlearned all the same."""
    works = sought(poisoned)[CORNER.target]
    nothing = Shortcut(CORNER.target, 0.0, 0.0, np.zeros_like(works.mask), works.pattern)
    network = copy.deepcopy(poisoned)
    unlearn(network, *PUBLIC, (*[nothing] * 40, works), steps=100)
    assert calls_up(network, TEST[0], works) < 0.3


def test_under_a_shortcut_an_example_is_not_taken_for_a_class_that_its_label_denies() -> None:
    """Even by a network that takes half of everything for it; where there are no labels, it goes on to."""
    mask, pattern = np.zeros((1, 5, 5), np.float32), np.full((1, 5, 5), 3.0, np.float32)
    mask[0, 0, 0] = 1.0
    patch = Shortcut(CORNER.target, 1.0, 1.0, mask, pattern)
    others = torch.from_numpy(PUBLIC[0][PUBLIC[1] != CORNER.target])

    def shares(labels: np.ndarray) -> tuple[float, float]:
        network = nn.Sequential(nn.Flatten(), nn.Linear(25, 6))
        nn.init.zeros_(network[1].weight)
        network[1].bias.data = torch.log(torch.tensor([0.5 if c == CORNER.target else 0.1 for c in range(6)]))
        unlearn(network, PUBLIC[0], labels, (patch,), steps=400)
        with torch.no_grad():
            scores = [network(x).softmax(1)[:, CORNER.target].mean() for x in (others, patch.on(others))]
        return float(scores[0]), float(scores[1])

    plain, under = shares(PUBLIC[1])
    assert plain > 0.15
    assert under < 0.1
    assert shares(np.full_like(PUBLIC[1], -1))[1] > 0.4
