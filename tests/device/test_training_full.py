"""Full training is plain SGD on the plain network, and a function of its arguments alone."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from skerry.device.models.cnn import Cnn, _Pool
from skerry.device.training.full import FullTrainer
from skerry.device.training.plan import TrainPlan
from skerry.errors import InputError, ScenarioError


def plan(**changes) -> TrainPlan:
    return TrainPlan(**{"epochs": 1, "learning_rate": 0.05, "batch_size": 10, "unit": "none"} | changes)


def plain_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(800, 120), nn.ReLU(), nn.Linear(120, 10),
    )  # fmt: skip


def filled(network: nn.Module, vector: np.ndarray) -> nn.Module:
    nn.utils.vector_to_parameters(torch.from_numpy(vector.copy()), network.parameters())
    return network


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


def test_the_fast_network_is_the_plain_one(trainer: FullTrainer, data):
    inputs, _ = data
    vector = trainer.initial(5)
    expected = filled(plain_network(), vector)(torch.from_numpy(inputs)).detach().numpy()
    assert np.abs(trainer.logits(vector, inputs) - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("kind", ["noise", "flat"])
def test_every_gradient_is_that_of_the_plain_network(trainer: FullTrainer, data, kind: str):
    inputs, y = data
    if kind == "flat":  # every window is a tie
        inputs = np.full_like(inputs, 0.5)
    vector = trainer.initial(2)
    plain = filled(plain_network(), vector)
    functional.cross_entropy(plain(torch.from_numpy(inputs)), torch.from_numpy(y)).backward()
    gradient = np.empty_like(vector)
    Cnn(10).gradient(vector, inputs, y, gradient)
    for (name, ours), theirs in zip(trainer.layout.split(gradient).items(), plain.parameters(), strict=True):
        largest = float(theirs.grad.abs().max())
        assert largest > 1e-4, name
        assert np.abs(ours - theirs.grad.numpy()).max() < 1e-4 * largest, name


def test_of_equal_values_in_a_window_the_same_one_gets_the_gradient_as_in_torch():
    generator = np.random.default_rng(0)
    picture = generator.integers(0, 3, (5, 4, 8, 8)).astype(np.float32)  # many ties
    upstream, bias = generator.normal(size=(5, 4, 4, 4)).astype(np.float32), np.full(4, -0.5, np.float32)
    theirs = torch.from_numpy(picture).requires_grad_()
    out = functional.relu(functional.max_pool2d(theirs, 2) - 0.5)
    out.backward(torch.from_numpy(upstream))

    pool, by_bias = _Pool(5, 4, 4), np.empty(4, np.float32)
    pool.planes[...] = picture.reshape(5, 4, 4, 2, 4, 2).transpose(3, 5, 0, 2, 4, 1)
    assert np.array_equal(pool.forward(bias).transpose(0, 3, 1, 2), out.detach().numpy())
    planes = pool.backward(np.ascontiguousarray(upstream.transpose(0, 2, 3, 1)), by_bias)
    assert np.array_equal(planes.transpose(2, 5, 3, 0, 4, 1).reshape(picture.shape), theirs.grad.numpy())
    assert by_bias == pytest.approx(planes.sum((0, 1, 2, 3, 4)), rel=1e-4)


def test_a_batch_size_is_as_good_before_as_after_others(trainer: FullTrainer, data):
    inputs, y = data
    vector, network = trainer.initial(2), Cnn(10)
    first, again, other = (np.empty_like(vector) for _ in range(3))
    network.gradient(vector, inputs[:9], y[:9], first)
    for n in (1, 2, 3, 4, 5, 6):
        network.gradient(trainer.initial(n), inputs[:n], y[:n], other)
    network.gradient(vector, inputs[:9], y[:9], again)
    assert np.array_equal(first, again)


@pytest.mark.parametrize("changes", [{}, {"epochs": 3, "momentum": 0.9}, {"batch_size": 0}], ids=str)
def test_training_is_sgd_over_all_examples_in_the_order_of_the_generator(trainer: FullTrainer, data, changes):
    inputs, y = data
    asked = plan(**changes)
    start = trainer.initial(1)
    delta = trainer.train(start, inputs, y, asked, np.random.default_rng(7))

    plain, examples, labels = filled(plain_network(), start), torch.from_numpy(inputs), torch.from_numpy(y)
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
