"""Full training is plain SGD on the plain network, and a function of its arguments alone."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from skerry.device.training.full import FullTrainer
from skerry.device.training.plan import TrainPlan
from skerry.errors import InputError, ScenarioError
from tests.device._plain_cnn import filled, plain_network


def plan(**changes) -> TrainPlan:
    return TrainPlan(**{"epochs": 1, "learning_rate": 0.05, "batch_size": 10, "unit": "none"} | changes)


def flat(network: nn.Module) -> np.ndarray:
    return nn.utils.parameters_to_vector(network.parameters()).detach().numpy()


@pytest.fixture(scope="module")
def trainer() -> FullTrainer:
    return FullTrainer("cnn", 10)


@pytest.fixture(scope="module")
def data(trainer: FullTrainer):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(47, 1, 28, 28)).astype(np.float32)
    return trainer.prepare(x), generator.integers(0, 10, 47)


def test_the_network_has_the_size_that_simulators_are_compared_on(trainer: FullTrainer):
    assert trainer.layout.size == 102_130
    plain = [tuple(p.shape) for p in plain_network().parameters()]
    assert [shape for _, shape in trainer.layout.tensors] == plain


@pytest.mark.parametrize("changes", [{}, {"epochs": 3, "momentum": 0.9}, {"batch_size": 0}], ids=str)
def test_training_is_sgd_over_all_examples_in_the_order_of_the_generator(trainer: FullTrainer, data, changes):
    inputs, y = data
    asked = plan(**changes)
    start = trainer.initial(1)
    delta = trainer.train(start, inputs, y, asked, np.random.default_rng(7))

    plain, examples, labels = filled(start), torch.from_numpy(inputs), torch.from_numpy(y)
    optimizer = torch.optim.SGD(plain.parameters(), lr=asked.learning_rate, momentum=asked.momentum)
    generator = np.random.default_rng(7)
    for _ in range(asked.epochs):
        order = generator.permutation(len(y))
        size = asked.batch_size or len(y)
        for first in range(0, len(y), size):
            batch = order[first : first + size]
            optimizer.zero_grad()
            functional.cross_entropy(plain(examples[batch]), labels[batch]).backward()
            optimizer.step()
    expected = flat(plain) - start
    assert delta.dtype == np.float32
    assert np.abs(expected).max() > 1e-3
    assert np.abs(delta - expected).max() < 2e-5


def test_nothing_is_left_of_one_device_when_the_next_one_trains(trainer: FullTrainer, data):
    inputs, y = data
    start = trainer.initial(1)
    kept = start.copy()
    start.flags.writeable = False  # as it comes from a message
    first = trainer.train(start, inputs, y, plan(momentum=0.5), np.random.default_rng(3))
    copy = first.copy()
    trainer.train(trainer.initial(9), inputs[:5], y[:5], plan(momentum=0.5), np.random.default_rng(4))
    trainer.logits(trainer.initial(8), inputs)
    again = trainer.train(start, inputs, y, plan(momentum=0.5), np.random.default_rng(3))
    assert np.array_equal(first, again)
    assert np.array_equal(first, copy)
    assert np.array_equal(start, kept)


def test_a_device_without_examples_changes_nothing(trainer: FullTrainer, data):
    inputs, y = data
    delta = trainer.train(trainer.initial(1), inputs[:0], y[:0], plan(), np.random.default_rng(3))
    assert not delta.any()


def test_two_processes_worth_of_trainers_agree_to_the_bit(trainer: FullTrainer, data):
    inputs, y = data
    other = FullTrainer("cnn", 10)
    start = trainer.initial(1)
    assert np.array_equal(start, other.initial(1))
    one, two = (t.train(start, inputs, y, plan(), np.random.default_rng(3)) for t in (trainer, other))
    assert np.array_equal(one, two)


def test_threads_that_share_a_trainer_do_not_mix_their_devices(trainer: FullTrainer, data):
    inputs, y = data
    start = trainer.initial(1)

    def train(seed: int) -> np.ndarray:
        return trainer.train(start, inputs, y, plan(epochs=3), np.random.default_rng(seed))

    alone = [train(seed) for seed in range(6)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(train, range(6)))
    for one, two in zip(alone, together, strict=True):
        assert np.array_equal(one, two)


def test_initialisation_follows_its_seed_and_has_the_size_that_torch_gives(trainer: FullTrainer):
    one = trainer.initial(1)
    assert np.array_equal(one, trainer.initial(1))
    assert not np.array_equal(one, trainer.initial(2))
    torch.manual_seed(0)
    for ours, theirs in zip(trainer.layout.split(one).values(), plain_network().parameters(), strict=True):
        assert np.abs(ours).max() == pytest.approx(float(theirs.detach().abs().max()), rel=0.35)


def test_training_in_full_needs_no_framework():
    code = "import sys, skerry.device.training.full; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_plan_with_privacy_is_refused_and_not_followed_without(trainer: FullTrainer, data):
    inputs, y = data
    private = plan(unit="example", batch_size=0, noise_multiplier=1.0, denominator=64)
    with pytest.raises(InputError, match="example-level"):
        trainer.train(trainer.initial(0), inputs, y, private, np.random.default_rng(0))


def test_examples_of_another_shape_are_refused_with_the_key_to_change(trainer: FullTrainer):
    with pytest.raises(InputError) as caught:
        trainer.prepare(np.zeros((2, 3, 64, 64), np.float32))
    assert caught.value.where == "model.input_size"


def test_an_architecture_that_cannot_be_trained_in_full_names_the_near_one():
    with pytest.raises(ScenarioError) as caught:
        FullTrainer("cmn", 10)
    assert "'cnn'" in (caught.value.mend or "")


def test_under_device_level_privacy_a_device_trains_as_without_and_under_example_level_not_at_all(trainer, data):
    """The coordinator clips and adds noise; single examples are not protected by it."""
    vector = trainer.initial(5)
    deltas = [
        trainer.train(vector, *data, plan(**changes), np.random.default_rng(1))
        for changes in ({}, {"unit": "device", "noise_multiplier": 2.0, "rounds": 5, "cohort_rate": 0.1})
    ]
    assert np.array_equal(*deltas)
    with pytest.raises(InputError, match="example-level"):
        trainer.train(vector, *data, plan(unit="example", noise_multiplier=2.0, batch_size=0), np.random.default_rng(1))
