"""The one loop of every mode: what is sampled, what is divided by, and where FedProx pulls."""

import numpy as np
import pytest

from skerry.device.training import Grid, HeadTrainer, TrainPlan
from skerry.device.training.descent import descend, descend_privately, draw_examples
from skerry.security.privacy import seeded_stream
from skerry.security.privacy.accounting import epsilon_from_rdp, rdp


def plain(**changes) -> TrainPlan:
    return TrainPlan(**{"learning_rate": 0.1, "unit": "none"} | changes)


def private(**changes) -> TrainPlan:
    values = {"learning_rate": 0.5, "unit": "example", "noise_multiplier": 1.0, "denominator": 40}
    return TrainPlan(**values | changes)


def quadratic(centre):
    """The gradient of ‖w - centre‖²/2."""

    def gradient(weights, batch, out):
        np.subtract(weights, centre, out=out)

    return gradient


def test_the_proximal_term_is_that_of_fedprox():
    start, centre, mu = np.array([1.0, -2.0, 0.5]), np.array([3.0, 0.0, 0.0]), 0.7
    weights, expected = descend(start, 10, quadratic(centre), plain(epochs=4, proximal=mu), np.arange), start.copy()
    for _ in range(4):
        expected = expected - 0.1 * ((expected - centre) + mu * (expected - start))
    assert weights == pytest.approx(expected)
    far = descend(start, 10, quadratic(centre), plain(epochs=4), np.arange)
    assert np.linalg.norm(weights - start) < np.linalg.norm(far - start)


def test_the_proximal_term_pulls_with_momentum_and_privacy_too():
    start, mu, size = np.linspace(-1, 1, 20), 0.9, 20
    grid = Grid(1.0, 1.0, size)
    total = np.full(size, grid.bound // 10, np.int64)
    plan = private(epochs=5, proximal=mu, momentum=0.5)
    stream, weights, velocity = seeded_stream(1), start.copy(), np.zeros(size)
    for _ in range(5):
        velocity = 0.5 * velocity + grid.release(total, stream) / 40 + mu * (weights - start)
        weights = weights - 0.5 * velocity
    found = descend_privately(start, 8, lambda *_: total, plan, seeded_stream(1))
    assert found == pytest.approx(weights)


def test_a_long_gradient_is_cut_to_the_bound_and_a_short_one_is_not():
    start, centre = np.zeros(3), np.array([30.0, 0.0, -40.0])
    weights = descend(start, 10, quadratic(centre), plain(gradient_clip=5.0), np.arange)
    assert weights == pytest.approx(0.1 * 5.0 * centre / 50)
    assert descend(start, 10, quadratic(centre), plain(gradient_clip=51.0), np.arange) == pytest.approx(0.1 * centre)


def test_each_example_takes_part_by_itself_with_the_rate_that_is_accounted():
    stream, rate, count, steps = seeded_stream(3), 0.2, 500, 400
    taken = np.zeros((steps, count))
    for step in taken:
        step[draw_examples(count, rate, stream)] = 1
    assert taken.mean() == pytest.approx(rate, abs=5 * np.sqrt(rate * (1 - rate) / taken.size))
    # Independent draws: the number that takes part is binomial, not fixed.
    assert taken.sum(1).var() == pytest.approx(count * rate * (1 - rate), rel=0.3)
    neighbours = np.corrcoef(taken[:, 0], taken[:, 1])[0, 1]
    assert abs(neighbours) < 5 / np.sqrt(steps)
    assert np.array_equal(draw_examples(7, 1.0, stream), np.arange(7))


def test_a_sampled_step_uses_the_drawn_examples_alone_and_divides_by_their_expected_number():
    seen, size = [], 10
    plan = private(epochs=2, sampling_rate=0.25, noise_multiplier=0.01)
    grid = Grid(plan.clip, plan.noise_multiplier, size)
    total = np.full(size, grid.bound // 4, np.int64)

    def integer_sum(weights, chosen, grid):
        seen.append(chosen)
        return total

    moved = descend_privately(np.zeros(size), 30, integer_sum, plan, seeded_stream(5))
    assert len(seen) == plan.steps == 8
    assert len({tuple(chosen) for chosen in seen}) > 1
    assert all(len(chosen) < 30 for chosen in seen)
    assert moved == pytest.approx(np.full(size, -0.5 * 8 * (grid.bound // 4) * grid.cell / (0.25 * 40)), rel=0.1)


def test_what_a_sampled_round_of_the_head_spends_is_less_than_without_sampling_at_equal_noise():
    sampled = private(epochs=1, sampling_rate=0.1).event
    whole = private(epochs=10).event
    assert sampled.steps == whole.steps
    assert epsilon_from_rdp(rdp(sampled), 1e-5)[0] < epsilon_from_rdp(rdp(whole), 1e-5)[0] / 2


def test_the_head_trains_on_sampled_examples():
    generator = np.random.default_rng(0)
    features, y = generator.normal(size=(50, 6)).astype(np.float32), generator.integers(0, 3, 50)
    trainer, start = HeadTrainer(3, 6), np.zeros(18, np.float32)
    plan = private(sampling_rate=0.5, epochs=2, noise_multiplier=0.01)
    found = trainer.train(start, features, y, plan, seeded_stream(2))
    grid, stream, weights = Grid(1.0, 0.01, 18), seeded_stream(2), np.zeros(18)
    for _ in range(4):
        drawn = draw_examples(50, 0.5, stream)
        total = trainer.integer_sum(weights.reshape(3, 6), features[drawn].astype(np.float64), y[drawn], grid)
        weights = weights - 0.5 * grid.release(total, stream) / 20
    assert found == pytest.approx(weights, abs=1e-6)
