"""A row counts as finite if every number of it does, however many rows are looked at together."""

import tracemalloc

import numpy as np
import pytest

from skerry.finite import finite_rows


@pytest.mark.parametrize(("count", "size"), [(0, 5), (3, 0), (1, 1), (70_000, 1), (1000, 257), (5, 1 << 17)])
def test_of_each_row_it_is_told_whether_all_its_numbers_are_finite(count: int, size: int) -> None:
    rows = np.random.default_rng(1).standard_normal((count, size)).astype(np.float32)
    assert finite_rows(rows).tolist() == [True] * count
    bad = {0: np.nan, count // 2: np.inf, count - 1: -np.inf} if count and size else {}
    for place, (row, value) in enumerate(bad.items()):
        rows[row, (size - 1) * place // 2] = value
    assert np.flatnonzero(~finite_rows(rows)).tolist() == sorted(bad)
    assert np.array_equal(finite_rows(rows[::-1]), finite_rows(rows)[::-1])


def test_many_rows_take_no_memory_of_their_size() -> None:
    rows = np.zeros((4000, 2500), np.float32)
    tracemalloc.start()
    try:
        finite_rows(rows)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()
