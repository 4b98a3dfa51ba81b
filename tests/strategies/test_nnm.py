"""Mixing takes the nearest rows, itself included, and settles ties by row order."""

import numpy as np
import pytest

from skerry.strategies import Composed, Mean, Median, NearestNeighbourMixing, TrimmedMean
from skerry.strategies.products import RowProducts
from skerry.strategies.select import nearest, nearest_rows


def test_ties_go_to_the_earlier_row() -> None:
    distances = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 4.0], [1.0, 4.0, 0.0]])
    assert nearest_rows(distances, 2)[0].tolist() == [True, True, False]


def test_a_row_is_its_own_neighbour_even_among_twins() -> None:
    inside = nearest_rows(np.zeros((5, 5)), 2)
    assert np.diagonal(inside).all()
    assert (inside.sum(axis=1) == 2).all()


@pytest.mark.parametrize("keep", [1, 5, 8, 12, 16])
def test_neighbourhoods_that_float32_does_not_settle_are_settled_in_float64(keep: int) -> None:
    rng = np.random.default_rng(keep)
    for closeness in (0.0, 1e-7, 1e-5):
        rows = rng.standard_normal((16, 66_000)).astype(np.float32)
        rows[8:12] = rows[8] + closeness * rng.standard_normal((4, 66_000))  # nearly as near to anybody as each other
        products, exact = RowProducts(rows, rule="nnm"), RowProducts(rows, rule="nnm", quick=False)
        assert products.quick_distances is not None
        assert exact.quick_distances is None
        np.testing.assert_array_equal(nearest(products, keep), nearest(exact, keep))


def test_without_tolerance_every_row_becomes_the_mean() -> None:
    rows = np.random.default_rng(0).standard_normal((6, 50)).astype(np.float32)
    expected = rows.mean(axis=0, dtype=np.float64)
    for then in (Mean(), Median(), TrimmedMean(0)):
        np.testing.assert_allclose(Composed((NearestNeighbourMixing(0),), then)(rows), expected, atol=1e-6)


def test_more_columns_than_a_block_and_a_remainder() -> None:
    rows = np.random.default_rng(0).standard_normal((7, 2 * 1024 + 3)).astype(np.float32)
    rule = Composed((NearestNeighbourMixing(2),), TrimmedMean(2))
    permuted = np.random.default_rng(1).permutation(rows.shape[1])
    np.testing.assert_allclose(rule(rows[:, permuted]), rule(rows)[permuted], atol=1e-6)


@pytest.mark.parametrize("then", [Median(3), TrimmedMean(3)])
def test_mixing_sees_through_a_bias_that_hides_in_the_honest_range_of_each_coordinate(
    then: Median | TrimmedMean,
) -> None:
    """What mixing is for: each hostile coordinate is ordinary, the hostile row as a whole is far from all others."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        honest = rng.standard_normal((12, 400))
        hostile = np.repeat((honest.mean(axis=0) - 1.5 * honest.std(axis=0))[None], 3, axis=0)
        rows = np.concatenate([honest, hostile]).astype(np.float32)
        target = honest.mean(axis=0)
        plain = np.linalg.norm(then(rows) - target)
        mixed = np.linalg.norm(Composed((NearestNeighbourMixing(3),), then)(rows) - target)
        assert mixed < 0.5 * plain
