"""Correlated noise: its sensitivity is the worst case, its gain the published one, its releases what they claim."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.errors import InputError
from skerry.security.privacy import GaussianEvent, seeded_stream
from skerry.security.privacy.factorisation import CorrelatedSums, Strategy, banded, buffered, independent
from skerry.security.privacy.factorisation.strategy import UNIT

# (rounds, separation): error of independent over correlated noise at equal zCDP, by jax-privacy 2.0
BANDED = {(100, 10): 2.4, (500, 50): 4.6, (1000, 100): 6.1, (2000, 400): 9.0}
BUFFERED = {(100, 10): 2.1, (500, 50): 4.1}


def matrix(strategy):
    c = np.zeros((strategy.rounds, strategy.rounds))
    for offset, value in enumerate(strategy.coefficients):
        c += value * np.eye(strategy.rounds, k=-offset)
    return c


def patterns(rounds, separation):
    """Every set of rounds that are at least ``separation`` apart."""
    for size in range(1, rounds + 1):
        for chosen in itertools.combinations(range(rounds), size):
            if all(b - a >= separation for a, b in itertools.pairwise(chosen)):
                yield chosen


@pytest.mark.parametrize(("plan", "published"), BANDED.items())
def test_banded_noise_gains_what_is_published(plan, published):
    strategy = banded(*plan)
    assert strategy.gain == pytest.approx(published, rel=0.05)
    assert len(strategy.coefficients) <= plan[1]
    assert strategy.coefficients[0] == UNIT


@pytest.mark.parametrize(("plan", "published"), BUFFERED.items())
def test_buffered_noise_gains_at_least_what_is_published(plan, published):
    strategy = buffered(*plan)
    assert 0.95 * published <= strategy.gain <= banded(*plan).gain * 1.05
    assert all(a >= b >= 0 for a, b in itertools.pairwise(strategy.coefficients))


@pytest.mark.parametrize("plan", [(40, 5), (60, 20)])
def test_no_other_coefficient_would_be_better(plan):
    strategy = banded(*plan)
    for at in range(1, len(strategy.coefficients)):
        for step in (-UNIT // 40, UNIT // 40):
            changed = list(strategy.coefficients)
            changed[at] += step
            assert Strategy("banded", tuple(changed), *plan).error > strategy.error


@pytest.mark.parametrize("made", [independent, banded, buffered])
@pytest.mark.parametrize(("rounds", "separation"), [(9, 3), (10, 4), (7, 1), (8, 8)])
def test_the_sensitivity_is_that_of_the_worst_pattern(made, rounds, separation):
    strategy = made(rounds, separation)
    c = matrix(strategy)
    worst = 0.0
    for chosen in patterns(rounds, separation):
        columns = c[:, chosen]
        signs = itertools.product((1, -1), repeat=len(chosen) - 1)
        worst = max(worst, *(float(((columns @ np.array((1, *rest))) ** 2).sum()) for rest in signs))
    assert worst == strategy.sensitivity2


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), separation=st.integers(1, 4))
def test_no_unit_moves_the_release_by_more_than_the_sensitivity(seed, separation):
    """Contributions are vectors of several dimensions and any direction."""
    generator = np.random.default_rng(seed)
    rounds = 8
    if generator.random() < 0.5:
        tail = np.sort(generator.integers(0, 50, generator.integers(0, rounds)))[::-1]
        coefficients = (50, *map(int, tail))
    else:
        coefficients = (50, *map(int, generator.integers(-60, 60, separation - 1)))
    strategy = Strategy("banded", coefficients, rounds, separation)
    contribution = np.zeros((rounds, 3))
    at = int(generator.integers(0, separation))
    while at < rounds:
        direction = generator.normal(size=3)
        contribution[at] = direction / np.linalg.norm(direction) * generator.choice([1.0, 0.3])
        at += separation + int(generator.integers(0, 2))
    assert ((matrix(strategy) @ contribution) ** 2).sum() <= strategy.sensitivity2 * (1 + 1e-12)


def test_error_and_running_noise_are_those_of_the_matrices():
    for strategy in (banded(40, 5), buffered(40, 5), independent(40, 5)):
        running = np.tril(np.ones((40, 40))) @ np.linalg.inv(matrix(strategy))
        assert strategy.running_noise == pytest.approx(np.sqrt((running**2).sum(axis=1)), rel=1e-9)
        assert strategy.error == pytest.approx(math.sqrt((running**2).sum() / 40 * strategy.sensitivity2), rel=1e-9)
    assert independent(40, 5).error == pytest.approx(math.sqrt(8 * 41 / 2))


@pytest.mark.parametrize(
    "arguments",
    [((), 5, 1), ((0,), 5, 1), ((1, 1, 1), 2, 3), ((1,), 0, 1), ((1,), 5, 0), ((3, 1, 2), 9, 2), ((3, 1, -1), 9, 2)],
)
def test_a_strategy_without_a_proved_sensitivity_is_refused(arguments):
    with pytest.raises(InputError):
        Strategy("banded", *arguments)


def test_a_release_is_the_sum_and_the_strategys_noise():
    """The same stream with other sums: what differs are the sums, exactly; what remains is C⁻¹z."""
    strategy, size = banded(12, 4), 50
    generator = np.random.default_rng(1)
    sums = generator.integers(-1000, 1000, (12, size))
    quiet, loud = (CorrelatedSums(strategy, 100, 2.0, size) for _ in range(2))
    one, other = seeded_stream(7), seeded_stream(7)
    noise = np.array([quiet.release(np.zeros(size, np.int64), one) for _ in range(12)])
    found = np.array([loud.release(row, other) for row in sums])
    assert found - noise == pytest.approx(sums, abs=1e-6)
    z = matrix(strategy) @ noise
    assert np.abs(z - np.rint(z)).max() < 1e-4  # integers: the noise that was drawn


def test_the_noise_has_the_scale_that_is_accounted():
    strategy, size, bound, sigma = banded(20, 5), 40_000, 300, 1.5
    mechanism = CorrelatedSums(strategy, bound, sigma, size)
    assert mechanism.event == GaussianEvent(sigma)
    exact = sigma * bound * math.sqrt(strategy.sensitivity2)
    assert exact <= mechanism.noise.scale <= exact * (1 + 1e-9)
    stream, zero = seeded_stream(8), np.zeros(size, np.int64)
    running = np.zeros(size)
    for t in range(20):
        out = mechanism.release(zero, stream)
        assert out.std() == pytest.approx(float(mechanism.noise.scale) * strategy.round_noise[t], rel=0.03)
        running += out
        assert running.std() == pytest.approx(float(mechanism.noise.scale) * strategy.running_noise[t], rel=0.03)


def test_rounds_beyond_the_plan_and_other_shapes_are_refused():
    mechanism = CorrelatedSums(independent(1, 1), 10, 1.0, 3)
    with pytest.raises(InputError, match="expected 3 integers"):
        mechanism.release(np.zeros(4, np.int64), seeded_stream(1))
    with pytest.raises(InputError, match="expected 3 integers"):
        mechanism.release(np.zeros(3), seeded_stream(1))
    mechanism.release(np.zeros(3, np.int64), seeded_stream(1))
    with pytest.raises(InputError, match="are released"):
        mechanism.release(np.zeros(3, np.int64), seeded_stream(1))
    with pytest.raises(InputError, match="64 bits"):
        CorrelatedSums(banded(10, 5), 2**40, 1.0, 3)
    with pytest.raises(InputError, match="multiplier"):
        CorrelatedSums(independent(1, 1), 10, 0.0, 3)


@pytest.mark.parametrize("done", [0, 1, 2, 5, 9])
def test_noise_goes_on_from_the_sums_of_the_last_rounds_and_no_others(done):
    strategy = buffered(10, 3)
    sums = [np.arange(4, dtype=np.int64) * number for number in range(10)]
    whole, broken, other = (CorrelatedSums(strategy, 100, 2.0, 4) for _ in range(3))
    newest = []
    for number, total in enumerate(sums):
        wanted = whole.release(total, seeded_stream(0, number))
        if number < done:
            assert np.array_equal(broken.release(total, seeded_stream(0, number)), wanted)
            newest.insert(0, tuple(array.copy() for array in broken.newest))
            continue
        if number == done:
            other.restore(done, newest[: other.reach])
        assert np.array_equal(other.release(total, seeded_stream(0, number)), wanted)
    with pytest.raises(InputError, match="can be gone on"):
        other.restore(done, newest[: other.reach])  # it has released rounds of its own
    if done:
        fresh = CorrelatedSums(strategy, 100, 2.0, 4)
        with pytest.raises(InputError, match="can be gone on"):
            fresh.restore(done, newest[: other.reach][1:])
        with pytest.raises(InputError, match="damaged"):
            fresh.restore(done, [(total[1:], released[1:]) for total, released in newest[: other.reach]])
