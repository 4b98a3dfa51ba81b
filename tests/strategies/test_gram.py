"""What is promised of inner products: exact in float64; quick in float32 only where that is good enough."""

import numpy as np
import pytest

from skerry.errors import AggregationError
from skerry.strategies.gram import (
    QUICK_ERROR,
    distances_to,
    gram,
    quick_distances_to,
    quick_gram,
    row_squares,
    squared_distances,
)
from skerry.strategies.inner import KERNEL
from skerry.strategies.products import MixedProducts, RowProducts
from skerry.strategies.select import choose, settled, smallest

ways = pytest.mark.parametrize(
    "kernel",
    [
        pytest.param(KERNEL, id="compiled", marks=pytest.mark.skipif(KERNEL is None, reason="no compiled loop here")),
        pytest.param(None, id="numpy"),
    ],
)


def exact_distances(rows: np.ndarray) -> np.ndarray:
    wide = rows.astype(np.float64)
    return np.array([[np.sum((a - b) ** 2) for b in wide] for a in wide])


def random_rows(n: int, d: int, seed: int, common: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, d)) + common * rng.standard_normal(d)).astype(np.float32)


@ways
@pytest.mark.parametrize(("n", "d"), [(2, 65_536), (13, 65_537), (5, 200_000)])
@pytest.mark.parametrize("common", [0.0, 1.5, 2.5, 2.7])
def test_quick_distances_are_right_to_the_stated_error_or_refused(n: int, d: int, common: float, kernel) -> None:
    rows = random_rows(n, d, n, common)
    found = quick_gram(rows, kernel)
    assert (found is None) == (common > 2.6)  # then all rows are near each other
    if found is not None:
        np.testing.assert_allclose(squared_distances(found), exact_distances(rows), rtol=QUICK_ERROR, atol=0)


def alike_entries(kind: str, sizes: np.ndarray, d: int) -> np.ndarray:
    """Rows whose sums are rounded the same way again and again."""
    same = np.full(d, 0.1, np.float32)
    if kind == "spiky":
        same = np.full(d, 1e-3, np.float32)
        same[::4096] = 3.0
    rows = same * sizes[:, None].astype(np.float32)
    if kind == "signs":
        rows *= np.random.default_rng(2).choice(np.array([-1, 1], np.float32), rows.shape)
    return rows


@ways
@pytest.mark.parametrize("kind", ["constant", "signs", "geometric", "spiky"])
@pytest.mark.parametrize("some", [3, 5])
def test_rows_whose_errors_do_not_average_out_are_multiplied_in_float64(kind: str, some: int, kernel) -> None:
    """Of nine rows so many are like that; five are too many for quick products, unless these are right all the same."""
    d, rng = 131_072, np.random.default_rng(1)
    rows = random_rows(9, d, 1) * np.float32(0.1)
    sizes = 3.0 ** np.arange(some) if kind == "geometric" else rng.uniform(0.5, 2, some)
    rows[:some] = alike_entries(kind, sizes * np.array([1, -1, 1, -1, 1])[:some], d)
    found = quick_gram(rows, kernel)
    if kernel is None:
        assert (found is None) == (some == 5)
    if found is not None:
        np.testing.assert_allclose(squared_distances(found), exact_distances(rows), rtol=QUICK_ERROR, atol=0)


@pytest.mark.parametrize("kind", ["constant", "signs", "spiky"])
@pytest.mark.parametrize("to", [0, 8])
def test_distances_to_one_row_are_right_where_errors_do_not_average_out(kind: str, to: int) -> None:
    """To one of three such rows among nine, and to another."""
    rows = random_rows(9, 131_072, 1) * np.float32(0.1)
    rows[:3] = alike_entries(kind, np.array([0.7, -1.3, 2.0]), rows.shape[1])
    found = quick_distances_to(rows, to)
    if to != 0:
        assert found is not None  # the others are random, and need no second look
    if found is not None:
        np.testing.assert_allclose(found, distances_to(rows, to), rtol=QUICK_ERROR, atol=0)


@pytest.mark.parametrize("kind", ["constant", "spiky"])
def test_squares_are_right_where_errors_do_not_average_out(kind: str) -> None:
    rows = alike_entries(kind, np.random.default_rng(3).uniform(0.05, 4, 60), 131_072)
    np.testing.assert_allclose(row_squares(rows), np.sum(rows.astype(np.float64) ** 2, axis=1), rtol=1e-6, atol=0)


def test_errors_of_short_rows_do_not_average_out_so_they_have_no_quick_products() -> None:
    rows = random_rows(13, 4097, 0)
    assert quick_gram(rows) is None
    assert RowProducts(rows, rule="krum").quick_distances_to(0) is None


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e18, 1e30])
def test_quick_products_are_refused_near_the_ends_of_the_range_of_float32(scale: float) -> None:
    rows = random_rows(5, 65_536, 0) * np.float32(scale)
    assert quick_gram(rows) is None
    np.testing.assert_allclose(squared_distances(gram(rows)), exact_distances(rows), rtol=1e-12, atol=0)
    np.testing.assert_allclose(row_squares(rows), np.sum(rows.astype(np.float64) ** 2, axis=1), rtol=1e-6)


@pytest.mark.parametrize("change", [0.0, 1e-4, 0.1])
def test_rows_near_each_other_are_multiplied_in_float64(change: float) -> None:
    rows = random_rows(6, 65_536, 0)
    rows[4] = rows[1] + np.float32(change) * rows[2]
    expected = exact_distances(rows)
    found = squared_distances(quick_gram(rows))
    np.testing.assert_allclose(found, expected, rtol=QUICK_ERROR, atol=0)
    assert found[1, 4] == pytest.approx(expected[1, 4], rel=QUICK_ERROR, abs=0)
    to_one = RowProducts(rows, rule="krum").quick_distances_to(1)
    np.testing.assert_allclose(to_one, expected[1], rtol=QUICK_ERROR, atol=0)


@pytest.mark.parametrize("common", [0.0, 2.0])
def test_distances_to_one_row_agree_with_all_distances(common: float) -> None:
    rows = random_rows(9, 70_000, 3, common)
    products, expected = RowProducts(rows, rule="monna"), exact_distances(rows)
    quick = products.quick_distances_to(2)
    assert quick is not None
    np.testing.assert_allclose(quick, expected[2], rtol=QUICK_ERROR, atol=0)
    np.testing.assert_allclose(products.distances_to(2), expected[2], rtol=1e-12, atol=0)


def test_products_of_mixed_rows_are_those_of_the_rows_that_mixing_would_make() -> None:
    rng = np.random.default_rng(0)
    rows, vector = random_rows(6, 50, 1), rng.standard_normal(50).astype(np.float32)
    for mixing in (rng.standard_normal((4, 6)), rng.random(6)):
        mixed = mixing @ rows.astype(np.float64) if mixing.ndim == 2 else mixing[:, None] * rows.astype(np.float64)
        products = MixedProducts(mixing, RowProducts(rows, rule="mean"))
        np.testing.assert_allclose(products.gram, mixed @ mixed.T, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(products.squares, np.sum(mixed**2, axis=1), rtol=1e-6)
        np.testing.assert_allclose(products.against(vector), mixed @ vector.astype(np.float64), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("question", ["gram", "squares", "distances", "quick_distances"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_look_at_products_finds_rows_that_are_not_finite(question: str, bad: float) -> None:
    rows = random_rows(5, 3000, 0)
    rows[3, 2999] = bad
    products = RowProducts(rows, rule="krum")
    with pytest.raises(AggregationError, match=r"rows \[3\]"):
        _ = getattr(products, question), products.distances
    large = RowProducts(np.full((3, 10), 3.4e38, np.float32), rule="krum")
    assert np.isfinite(large.squares).all()


def test_ties_that_rounding_hides_go_to_the_earlier_row() -> None:
    scores = np.array([0.3, 0.1 + 0.2, 0.25])
    assert smallest(scores, 2).tolist() == [0, 2]
    assert smallest(scores[[1, 0, 2]], 2).tolist() == [0, 2]
    np.testing.assert_array_equal(
        settled(np.array([0.0, -1.0, 1e-300, 3.5])), [0.0, -1.0, settled(np.array([1e-300]))[0], 3.5]
    )


def test_exact_scores_are_asked_for_when_quick_ones_do_not_settle_the_choice() -> None:
    asked = []

    def exact() -> np.ndarray:
        asked.append(True)
        return np.array([2.0, 1.0, 5.0])

    assert choose(np.array([1.0, 2.0, 5.0]), exact, 1).tolist() == [0]
    assert not asked
    assert choose(np.array([1.0, 1.000001, 5.0]), exact, 1).tolist() == [1]
    assert choose(np.array([1.0, 1.000001, 5.0]), exact, 2).tolist() == [0, 1]
    assert len(asked) == 1
    assert choose(None, exact, 1).tolist() == [1]


def test_copies_among_long_rows_are_at_distance_zero_and_others_as_far_as_they_are() -> None:
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((12, 70_000), dtype=np.float32)
    rows[7] = rows[9] = rows[2]
    rows[5] = rows[2]
    rows[5, 69_999] += np.float32(1e-3)  # no copy, though as near as one
    inner = quick_gram(rows)
    assert inner is not None
    distances = squared_distances(inner)
    assert distances[2, 7] == distances[2, 9] == distances[7, 9] == 0.0
    assert distances[2, 5] == pytest.approx(1e-6, rel=1e-2)
    exact = squared_distances(gram(rows))
    np.testing.assert_allclose(distances, exact, rtol=QUICK_ERROR, atol=1e-8)


@ways
def test_no_rows_and_no_columns_have_products_too(kernel) -> None:
    found = quick_gram(np.zeros((0, 70_000), np.float32), kernel)
    assert found is not None
    assert found.shape == squared_distances(found).shape == (0, 0)
    assert row_squares(np.zeros((0, 7), np.float32)).shape == (0,)
    assert row_squares(np.zeros((3, 0), np.float32)).tolist() == [0.0, 0.0, 0.0]
