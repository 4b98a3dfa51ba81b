"""Attacks stay where the ball says, recipes refuse nonsense, and seeming robustness is told from real."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from skerry.errors import InputError
from skerry.security.adversarial import AdversarialRecipe, Ball, overfitted, suspicious

rows = arrays.arrays(np.float32, (3, 1, 2, 4), elements=st.floats(-3, 3, width=32))
norms = st.sampled_from(["linf", "l2"])


def lengths(delta: np.ndarray, norm: str) -> np.ndarray:
    flat = delta.reshape(len(delta), -1).astype(np.float64)
    return np.abs(flat).max(1) if norm == "linf" else np.linalg.norm(flat, axis=1)


@settings(max_examples=60, deadline=None)
@given(rows, rows, norms, st.floats(0.01, 2), st.sampled_from([(-math.inf, math.inf), (0, 1)]))
def test_a_projected_point_is_in_the_ball_and_no_further_out_of_range_than_the_example(x, moved, norm, epsilon, values):
    ball = Ball(epsilon, norm, *values)
    found = ball.project(x, moved)
    assert (lengths(found - x, norm) <= epsilon * (1 + 1e-5) + 1e-6).all()
    assert (found >= np.minimum(x, ball.low)).all()
    assert (found <= np.maximum(x, ball.high)).all()


@settings(max_examples=60, deadline=None)
@given(rows, norms)
def test_a_point_that_is_inside_stays_where_it_is(x, norm):
    inside = x + np.float32(0.01)
    np.testing.assert_allclose(Ball(1.0, norm).project(x, inside), inside, rtol=0, atol=1e-6)


def test_each_example_is_projected_by_itself():
    x, moved = np.zeros((2, 4), np.float32), np.array([[0.1] * 4, [9.0] * 4], np.float32)
    found = Ball(1.0, "l2").project(x, moved)
    np.testing.assert_allclose(found, [[0.1] * 4, [0.5] * 4], rtol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [{"epsilon": 0.0}, {"epsilon": math.nan}, {"epsilon": math.inf}, {"norm": "l1"}, {"low": 1.0, "high": 1.0}],
)
def test_a_ball_that_is_none_is_refused(wrong):
    with pytest.raises(InputError):
        Ball(**{"epsilon": 0.1} | wrong)


@pytest.mark.parametrize("wrong", [{"method": "fgsm"}, {"steps": 0}, {"steps": 101}, {"beta": 0.0}, {"beta": math.nan}])
def test_a_recipe_that_is_none_is_refused(wrong):
    with pytest.raises(InputError):
        AdversarialRecipe(ball=Ball(0.1), **wrong)


@pytest.mark.parametrize(
    ("one_step", "many_steps", "seeming"),
    [(0.98, 0.02, True), (0.9, 0.4, True), (0.75, 0.7, False), (0.6, 0.35, False), (0.15, 0, False), (0.1, 0.1, False)],
)
def test_only_a_collapse_under_many_steps_is_overfitting(one_step, many_steps, seeming):
    assert overfitted(one_step, many_steps) is seeming
    assert suspicious(one_step, many_steps) or not seeming


def test_what_is_suspicious_lies_half_of_the_way_to_overfitting():
    assert not suspicious(0.9, 0.7)
    assert suspicious(0.9, 0.6)
    assert not suspicious(0.1, 0.0)
