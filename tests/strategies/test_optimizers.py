"""Server optimizers do what their papers say, and nothing half."""

import numpy as np
import pytest

from skerry.errors import AggregationError, ScenarioError
from skerry.strategies.optimizers import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedYogi, Moments, named_optimizer

RNG = np.random.default_rng(5)
STEPS = RNG.normal(size=(6, 40)) * np.geomspace(1e-3, 1, 40)


def test_fedavg_adds_the_scaled_aggregate_to_a_new_vector() -> None:
    vector, aggregate = np.array([1.0, 2.0], np.float32), np.array([0.5, -4.0], np.float32)
    before = vector.copy(), aggregate.copy()
    moved = FedAvg(0.5)(vector, aggregate)
    assert moved.dtype == np.float32
    np.testing.assert_array_equal(moved, [1.25, 0.0])
    np.testing.assert_array_equal(vector, before[0])
    np.testing.assert_array_equal(aggregate, before[1])


def test_fedavg_refuses_a_step_that_does_not_fit_or_explodes() -> None:
    with pytest.raises(AggregationError, match="shape"):
        FedAvg()(np.zeros(3, np.float32), np.zeros(2, np.float32))
    with pytest.raises(AggregationError, match="infinite"):
        FedAvg()(np.full(2, 3e38, np.float32), np.full(2, 3e38, np.float32))


def test_server_momentum_adds_up_what_it_carries_over_rounds() -> None:
    vector, step = np.zeros(2, np.float32), np.array([1.0, -2.0], np.float32)
    moments = FedAvgM().start(2)
    expected, carried = np.zeros(2), np.zeros(2)
    for _ in range(4):
        carried = 0.8 * carried + step
        expected = expected + 0.5 * carried
        vector, moments = FedAvgM(0.5, 0.8)(vector, step, moments)
    assert vector == pytest.approx(expected)
    np.testing.assert_array_equal(FedAvgM(0.5)(step, step, Moments(vector))[0], FedAvg(0.5)(step, step))
    for momentum in (-0.1, 1.0, float("nan")):
        with pytest.raises(ScenarioError):
            FedAvgM(1.0, momentum)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_fedavg_refuses_a_useless_learning_rate(rate: float) -> None:
    with pytest.raises(ScenarioError):
        FedAvg(rate)


def _published(name: str, eta: float, beta: float, beta2: float, tau: float) -> np.ndarray:
    """Algorithm 2 of arXiv:2003.00295, line by line, in float64."""
    x, m, v = np.zeros(40), np.zeros(40), np.full(40, tau**2)
    for delta in STEPS:
        m = beta * m + (1 - beta) * delta
        if name == "fedadagrad":
            v = v + delta**2
        elif name == "fedyogi":
            v = v - (1 - beta2) * delta**2 * np.sign(v - delta**2)
        else:
            v = beta2 * v + (1 - beta2) * delta**2
        x = x + eta * m / (np.sqrt(v) + tau)
    return x


@pytest.mark.parametrize("name", ["fedadam", "fedyogi", "fedadagrad"])
def test_adaptive_optimizers_are_the_published_ones(name: str) -> None:
    optimizer = named_optimizer(name, learning_rate=0.03, momentum=0.9, decay=0.95, adaptivity=1e-2)
    vector, moments = np.zeros(40, np.float32), optimizer.start(40)
    for step in STEPS:
        before = vector.copy(), moments.first.copy(), moments.second.copy()
        moved, carried = optimizer(vector, step.astype(np.float32), moments)
        for kept, old in zip((vector, moments.first, moments.second), before, strict=True):
            np.testing.assert_array_equal(kept, old)  # inputs are not changed
        vector, moments = moved, carried
    assert vector == pytest.approx(_published(name, 0.03, 0.9, 0.95, 1e-2), rel=2e-5)
    others = {"fedadam", "fedyogi", "fedadagrad"} - {name}
    assert all(np.abs(vector - _published(other, 0.03, 0.9, 0.95, 1e-2)).max() > 1e-3 for other in others)


def test_numbers_that_change_little_move_as_far_as_those_that_change_much() -> None:
    step = np.array([1e-2, 10.0], np.float32)
    for optimizer in (FedAdam(0.1, 0.0, 0.0, 1e-6), FedAdagrad(0.1, 0.0, 0.0, 1e-6), FedYogi(0.1, 0.0, 0.0, 1e-6)):
        assert optimizer(np.zeros(2, np.float32), step, optimizer.start(2))[0] == pytest.approx([0.1, 0.1], rel=1e-3)


def test_yogi_takes_longer_to_believe_in_quiet_rounds_than_adam() -> None:
    loud, quiet = np.full(1, 10.0, np.float32), np.full(1, 1e-2, np.float32)
    seconds = []
    for optimizer in (FedAdam(0.1, 0.0, 0.5, 1e-3), FedYogi(0.1, 0.0, 0.5, 1e-3)):
        vector, moments = optimizer(np.zeros(1, np.float32), loud, optimizer.start(1))
        for _ in range(5):
            vector, moments = optimizer(vector, quiet, moments)
        seconds.append(float(moments.second[0]))
    assert seconds[1] > 10 * seconds[0]


def test_nothing_is_carried_on_of_a_step_that_cannot_be_taken() -> None:
    for optimizer in (FedAvgM(1.0, 0.5), FedAdam(), FedYogi(), FedAdagrad()):
        with pytest.raises(AggregationError, match="shape"):
            optimizer(np.zeros(3, np.float32), np.zeros(2, np.float32), optimizer.start(3))
        with pytest.raises(AggregationError, match="fit"):
            optimizer(np.zeros(3, np.float32), np.zeros(3, np.float32), optimizer.start(2))
    with pytest.raises(AggregationError, match="infinite"):
        FedAdam()(np.zeros(2, np.float32), np.full(2, 1e25, np.float32), FedAdam().start(2))


@pytest.mark.parametrize("wrong", [{"momentum": 1.0}, {"decay": -0.1}, {"decay": 1.0}, {"adaptivity": 0.0},
                                   {"adaptivity": 1e20},
                                   {"adaptivity": float("nan")}, {"learning_rate": 0.0}])  # fmt: skip
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ScenarioError):
        FedAdam(**wrong)


def test_an_unknown_optimizer_is_named() -> None:
    with pytest.raises(ScenarioError, match="fedsgd"):
        named_optimizer("fedsgd", learning_rate=1, momentum=0, decay=0, adaptivity=1)
