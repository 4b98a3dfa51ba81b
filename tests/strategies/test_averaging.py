"""The mean of the newest models beside the steps of an optimizer: what is released, and what devices train from."""

import numpy as np
import pytest

from skerry.errors import AggregationError, ScenarioError
from skerry.strategies.averaging import Averaged, released
from skerry.strategies.optimizers import FedAdam, FedAvgM, Moments, ServerOptimizer

RNG = np.random.default_rng(7)
STEPS = RNG.normal(size=(30, 20)).astype(np.float32)


def walked(optimizer: ServerOptimizer) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The vectors that devices train from, and what is released after each step."""
    vector, moments = np.zeros(20, np.float32), optimizer.start(20)
    vectors, means = [], []
    for step in STEPS:
        vector, moments = optimizer(vector, step, moments)
        vectors.append(vector)
        means.append(released(vector, moments))
    return vectors, means


@pytest.mark.parametrize("optimizer", [FedAvgM(0.5, 0.9), FedAdam(0.01)])
def test_devices_train_from_what_they_would_without_it(optimizer: ServerOptimizer) -> None:
    alone, none = walked(optimizer)
    vectors, _ = walked(Averaged(optimizer, 0.9))
    np.testing.assert_array_equal(vectors, alone)
    np.testing.assert_array_equal(none, alone)


def test_the_first_models_count_alike_and_then_earlier_ones_fade() -> None:
    vectors, means = walked(Averaged(FedAvgM(), 0.9))
    for count in range(1, 11):
        np.testing.assert_allclose(means[count - 1], np.mean(vectors[:count], axis=0), atol=1e-5)
    expected = np.mean(vectors[:10], axis=0)
    for vector, mean in zip(vectors[10:], means[10:], strict=True):
        expected = 0.9 * expected + 0.1 * vector
        np.testing.assert_allclose(mean, expected, atol=1e-5)


def test_an_average_that_keeps_nothing_is_the_last_model() -> None:
    vectors, means = walked(Averaged(FedAvgM(), 0.0))
    np.testing.assert_array_equal(vectors, means)


def test_a_mean_of_noisy_models_is_nearer_to_what_they_swing_around() -> None:
    goal, vector = np.ones(20), np.zeros(20, np.float32)
    optimizer = Averaged(FedAvgM(0.5), 0.95)
    moments = optimizer.start(20)
    last, mean = [], []
    for _ in range(200):
        vector, moments = optimizer(vector, (goal - vector + RNG.normal(size=20)).astype(np.float32), moments)
        last.append(np.square(vector - goal).mean())
        mean.append(np.square(released(vector, moments) - goal).mean())
    assert np.mean(mean[100:]) < np.mean(last[100:]) / 5


def test_a_step_that_fails_or_does_not_fit_changes_no_average() -> None:
    optimizer = Averaged(FedAvgM(), 0.9)
    vector, moments = optimizer(np.zeros(2, np.float32), np.ones(2, np.float32), optimizer.start(2))
    kept = moments.average.copy()
    with pytest.raises(AggregationError, match="infinite"):
        optimizer(np.full(2, 3e38, np.float32), np.full(2, 3e38, np.float32), moments)
    with pytest.raises(AggregationError, match="average"):
        optimizer(vector, np.ones(2, np.float32), Moments(moments.first, average=np.ones(3, np.float32), averaged=1))
    np.testing.assert_array_equal(moments.average, kept)
    optimizer(vector, np.ones(2, np.float32), moments)
    np.testing.assert_array_equal(moments.average, kept)


@pytest.mark.parametrize("keep", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(keep: float) -> None:
    with pytest.raises(ScenarioError):
        Averaged(FedAvgM(), keep)


def test_without_an_average_the_vector_is_released() -> None:
    vector = np.ones(3, np.float32)
    assert released(vector, FedAvgM().start(3)) is vector
