"""Rules against plain numpy written straight from their formulas, on random matrices with ties and outliers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skerry.strategies import RULES, parse_rule


def reference(name: str, rows: np.ndarray, f: int) -> np.ndarray:
    x = rows.astype(np.float64)
    n = len(x)
    if name.startswith("nnm+"):
        mixed = []
        for i in range(n):
            distance = [(-1.0 if j == i else float(np.sum((x[i] - x[j]) ** 2)), j) for j in range(n)]
            nearest = [j for _, j in sorted(distance)[: n - f]]
            mixed.append(x[nearest].mean(axis=0))
        return reference(name.removeprefix("nnm+"), np.array(mixed), f)
    if name == "mean":
        return x.sum(axis=0) / n
    if name == "median":
        return np.median(x, axis=0)
    return np.sort(x, axis=0)[f : n - f].mean(axis=0)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """Values are multiples of 1/8 up to 2^10: products are exact, so equal distances are exactly equal in both."""
    f = draw(st.integers(0, 3))
    n = draw(st.integers(max(1, 2 * f + 1), 2 * f + 8))
    d = draw(st.integers(1, 12))
    grid = st.integers(-40, 40) | st.integers(-8192, 8192)
    rows = draw(hnp.arrays(np.int64, (n, d), elements=grid))
    return (rows / 8).astype(np.float32), f


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=200, deadline=None)
@given(case=cases())
def test_a_rule_equals_its_formula(name: str, case: tuple[np.ndarray, int]) -> None:
    rows, f = case
    expected = reference(name, rows, f)
    scale = max(1.0, float(np.abs(rows).max()))
    np.testing.assert_allclose(parse_rule(name, tolerate=f)(rows), expected, rtol=1e-6, atol=2e-6 * scale)


@pytest.mark.parametrize("name", ["mean", "median", "trimmed_mean"])
@settings(max_examples=100, deadline=None)
@given(case=cases(), seed=st.integers(0, 2**31))
def test_the_order_of_the_rows_has_no_influence(name: str, case: tuple[np.ndarray, int], seed: int) -> None:
    rows, f = case
    rule = parse_rule(name, tolerate=f)
    shuffled = np.random.default_rng(seed).permutation(rows)
    np.testing.assert_array_equal(rule(shuffled), rule(rows))


@pytest.mark.parametrize("name", ["nnm+mean", "nnm+median", "nnm+trimmed_mean"])
@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(5, 12))
def test_the_order_of_the_rows_has_no_influence_on_mixing_unless_distances_tie(name: str, seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, 30)).astype(np.float32)  # no two distances are equal
    rule = parse_rule(name, tolerate=2)
    np.testing.assert_allclose(rule(rng.permutation(rows)), rule(rows), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["median", "trimmed_mean"])
@settings(max_examples=100, deadline=None)
@given(case=cases(), data=st.data())
def test_f_hostile_rows_leave_each_coordinate_within_the_honest_range(
    name: str, case: tuple[np.ndarray, int], data: st.DataObject
) -> None:
    rows, f = case
    hostile = data.draw(hnp.arrays(np.float32, (f, rows.shape[1]), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
    honest = rows[f:]
    result = parse_rule(name, tolerate=f)(np.concatenate([hostile, honest]))
    slack = 1e-6 * max(1.0, float(np.abs(honest).max()))
    assert (result >= honest.min(axis=0) - slack).all()
    assert (result <= honest.max(axis=0) + slack).all()


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=50, deadline=None)
@given(case=cases(), shift=st.integers(-64, 64))
def test_shifting_every_update_shifts_the_result(name: str, case: tuple[np.ndarray, int], shift: int) -> None:
    rows, f = case
    rule = parse_rule(name, tolerate=f)
    scale = max(1.0, float(np.abs(rows).max()), abs(shift))
    np.testing.assert_allclose(rule(rows + np.float32(shift)), rule(rows) + shift, atol=4e-6 * scale)
