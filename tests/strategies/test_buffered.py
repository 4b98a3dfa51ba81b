"""A buffer of updates of different age: FedBuff's sum, robust rules over it, and who may take part."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import AggregationError, InputError
from skerry.strategies import Mean, parse_rule
from skerry.strategies.buffered import BufferedRule, Turns, staleness_weights


def test_with_a_mean_it_is_the_sum_of_the_paper() -> None:
    chance = np.random.default_rng(0)
    deltas = chance.normal(size=(7, 30)).astype(np.float32)
    staleness = chance.integers(0, 20, 7)
    expected = sum(row / np.sqrt(1 + s) for row, s in zip(deltas.astype(np.float64), staleness, strict=True)) / 7
    assert np.allclose(BufferedRule(Mean(), 0.5)(deltas, staleness), expected, atol=1e-6)
    assert np.array_equal(BufferedRule(Mean(), 0.0)(deltas, staleness), Mean()(deltas))


def test_nobody_weighs_more_for_being_late() -> None:
    weights = staleness_weights(np.arange(50), 0.5)
    assert weights[0] == 1
    assert (np.diff(weights) < 0).all()
    for staleness, exponent in ((np.array([-1]), 0.5), (np.array([1]), -0.1), (np.array([1]), float("nan"))):
        with pytest.raises(InputError):
            staleness_weights(staleness, exponent)


@pytest.mark.parametrize("name", ["trimmed_mean", "nnm+trimmed_mean", "median", "geometric_median"])
def test_a_robust_rule_keeps_hostile_updates_out_of_the_buffer(name: str) -> None:
    """Three of ten are huge and fresh, the honest ones are of all ages."""
    chance = np.random.default_rng(1)
    deltas = (1 + 0.1 * chance.normal(size=(10, 50))).astype(np.float32)
    deltas[:3] = -1000
    staleness = np.array([0, 0, 0, 0, 1, 2, 3, 4, 5, 6])
    robust = BufferedRule(parse_rule(name, tolerate=3), 0.5)(deltas, staleness)
    assert 0.2 < robust.min() <= robust.max() < 1.1
    assert BufferedRule(Mean(), 0.5)(deltas, staleness).max() < -100


def test_the_input_is_not_changed_and_must_fit() -> None:
    deltas = np.ones((3, 4), np.float32)
    BufferedRule(Mean(), 0.5)(deltas, np.array([1, 2, 3]))
    assert (deltas == 1).all()
    with pytest.raises(AggregationError, match="3 updates with 2"):
        BufferedRule(Mean(), 0.5)(deltas, np.array([1, 2]))


@given(
    st.integers(1, 6),
    st.integers(0, 4),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.booleans()), max_size=60),
)
def test_whoever_follows_may_begin_never_breaks_the_schema(separation: int, most: int, wishes: list) -> None:
    """However late devices answer: their steps are far enough apart and not too many."""
    turns = Turns(separation, most)
    entered: dict[str, list[int]] = {name: [] for name in "abc"}
    asked: dict[str, list[int]] = {name: [] for name in "abc"}
    under_way: dict[str, int] = {}
    for step, (name, late, answers) in enumerate(wishes, start=1):
        for other, due in list(under_way.items()):
            if due <= step:
                turns.enter(other, step)  # raises if may_begin was wrong
                entered[other].append(step)
                del under_way[other]
        if turns.may_begin(name, step + 1):
            assert name not in under_way
            turns.begin(name, step + 1)
            asked[name].append(step + 1)
            if answers:
                under_way[name] = step + 1 + late
            else:
                turns.end(name)
    for steps in (*entered.values(), *asked.values()):
        assert all(b - a >= separation for a, b in pairwise(steps))
        assert not most or len(steps) <= most


def test_who_is_too_near_too_often_or_was_not_asked_is_refused() -> None:
    turns = Turns(3, 2)
    with pytest.raises(InputError, match="was not asked"):
        turns.enter("a", 1)
    turns.begin("a", 1)
    assert not turns.may_begin("a", 9)  # at work
    turns.enter("a", 2)  # one step late
    with pytest.raises(InputError, match="was not asked"):
        turns.enter("a", 3)  # the same answer twice
    assert [turns.may_begin("a", step) for step in (2, 3, 4, 5)] == [False, False, False, True]
    with pytest.raises(InputError, match="3 steps apart"):
        turns.begin("a", 4)
    turns.begin("a", 5)
    with pytest.raises(InputError, match="was not asked"):
        turns.enter("a", 4)  # before it was asked
    turns.end("a")
    assert not turns.may_begin("a", 100)  # twice
