"""Training that is stopped and goes on ends where it would have ended, to the last bit, wherever it was stopped."""

from collections.abc import Callable
from itertools import count

import numpy as np
import pytest
import torch
from torch import nn

from skerry.device.training.full import FullTrainer
from skerry.device.training.head import HeadTrainer
from skerry.device.training.network import NetworkTrainer
from skerry.device.training.plan import TrainPlan
from skerry.device.yielding import Standing, YieldedError, may_be_asked_to_yield, yield_if_asked
from skerry.records import Float32Array
from skerry.security.privacy.stream import ChaChaStream, os_stream, seeded_stream

N, FEATURES, CLASSES = 12, 5, 3
PRIVATE = TrainPlan(epochs=4, learning_rate=0.5, unit="example", clip=1.0, noise_multiplier=1.0, momentum=0.9)
SAMPLED = TrainPlan(
    epochs=1, learning_rate=0.5, unit="example", clip=1.0, noise_multiplier=1.0, sampling_rate=0.25, proximal=0.1
)
PLAIN = TrainPlan(epochs=3, learning_rate=0.1, unit="none", batch_size=5, momentum=0.5)
NO_MOMENTUM = TrainPlan(epochs=2, learning_rate=0.1, unit="none", batch_size=4, gradient_clip=0.5)
PLANS = [PRIVATE, SAMPLED, PLAIN, NO_MOMENTUM]

_RANDOM = np.random.default_rng(0)
ROWS = _RANDOM.normal(size=(N, FEATURES)).astype(np.float32)
VIEWS = _RANDOM.normal(size=(N, 2, FEATURES)).astype(np.float32)
Y = _RANDOM.integers(0, CLASSES, N)
PICTURES = _RANDOM.normal(size=(N, 1, 4, 4)).astype(np.float32)


def _head(rows: Float32Array, plan: TrainPlan) -> Float32Array:
    trainer = HeadTrainer(CLASSES, FEATURES)
    return trainer.train(np.zeros(trainer.layout.size, np.float32), rows, Y, plan, _stream())


def _network(plan: TrainPlan) -> Float32Array:
    torch.manual_seed(0)
    trainer = NetworkTrainer(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, CLASSES)))
    return trainer.train(trainer.initial(), PICTURES, Y, plan, _stream())


def _full() -> Float32Array:
    trainer = FullTrainer("cnn", 10)
    pictures = np.zeros((N, 1, 28, 28), np.float32)
    return trainer.train(trainer.initial(0), pictures, Y, PLAIN, np.random.default_rng(3))


def _stream() -> ChaChaStream:
    stream = seeded_stream(7, "train")
    stream.uint64(4)  # others may draw from it before the first step
    return stream


def _stopped(
    train: Callable[[], Float32Array], at: int, standing: Standing | None
) -> tuple[Float32Array | None, Standing | None]:
    asked = count()
    with may_be_asked_to_yield(lambda: next(asked) == at, standing) as yielding:
        try:
            return train(), None
        except YieldedError:
            return None, yielding.standing


def _everywhere(train: Callable[[], Float32Array]) -> int:
    """Stop at each place where it can be stopped, and go on; how many places there are."""
    whole = train()
    assert np.any(whole)
    for at in count():
        delta, standing = _stopped(train, at, None)
        if delta is not None:
            np.testing.assert_array_equal(delta, whole)
            return at
        assert standing is not None
        delta, nothing = _stopped(train, -1, standing)
        assert nothing is None
        assert delta is not None
        np.testing.assert_array_equal(delta, whole)
    raise AssertionError


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("rows", [ROWS, VIEWS])
def test_a_head_ends_where_it_would_have_ended(rows: Float32Array, plan: TrainPlan) -> None:
    assert _everywhere(lambda: _head(rows, plan)) >= 4


@pytest.mark.parametrize("plan", PLANS)
def test_a_network_ends_where_it_would_have_ended(plan: TrainPlan) -> None:
    assert _everywhere(lambda: _network(plan)) >= 4


@pytest.mark.parametrize("engine", ["bookkeeping", "opacus"])
def test_other_engines_too(engine: str) -> None:
    plan = TrainPlan(epochs=2, learning_rate=0.5, unit="example", clip=1.0, noise_multiplier=1.0, engine=engine)  # type: ignore[arg-type]
    assert _everywhere(lambda: _network(plan)) >= 2


def test_every_weight_of_a_small_network_too() -> None:
    assert _everywhere(_full) == 9


def test_it_may_be_stopped_again_and_again() -> None:
    whole, standing, stops = _head(ROWS, PRIVATE), None, 0
    while True:
        delta, standing = _stopped(lambda: _head(ROWS, PRIVATE), 2, standing)
        if delta is not None:
            break
        stops += 1
    assert stops == 3  # two looks a step, so it gets one step further each time
    np.testing.assert_array_equal(delta, whole)


def test_examples_are_looked_between_within_a_step() -> None:
    """A step of a network over many examples takes minutes: it is left after any of them."""
    once = TrainPlan(epochs=1, learning_rate=0.5, unit="example", clip=1.0, noise_multiplier=1.0)
    assert _everywhere(lambda: _network(once)) == 1 + N


def test_where_it_stands_holds_no_sum_without_its_noise() -> None:
    """Stopped within a step or just before it, it stands at the same place."""
    _, before = _stopped(lambda: _network(PRIVATE), 0, None)
    _, within = _stopped(lambda: _network(PRIVATE), 5, None)
    assert before is not None
    assert within is not None
    assert before.done == within.done == 0
    assert before.drawn == within.drawn
    np.testing.assert_array_equal(before.weights, within.weights)
    np.testing.assert_array_equal(before.velocity, within.velocity)


def test_nobody_asks_where_nobody_may() -> None:
    yield_if_asked()
    with may_be_asked_to_yield(lambda: False):
        yield_if_asked()
    with may_be_asked_to_yield(lambda: True), may_be_asked_to_yield(lambda: False), pytest.raises(YieldedError):
        yield_if_asked()
    yield_if_asked()


@pytest.mark.parametrize("drawn", [0, 1, 63, 64, 65, 1000])
def test_a_stream_goes_on_from_any_place(drawn: int) -> None:
    whole = seeded_stream(1).bytes(1200)
    stream = seeded_stream(1)
    stream.bytes(300)
    stream.skip_to(drawn)
    assert stream.drawn == drawn
    assert stream.bytes(100) == whole[drawn : drawn + 100]
    assert stream.drawn == drawn + 100
    assert not os_stream().is_seeded
