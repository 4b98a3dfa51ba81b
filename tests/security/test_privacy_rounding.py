"""Random rounding: right on average, never over the bound."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.security.privacy import seeded_stream
from skerry.security.privacy.mechanisms import RandomRounding


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 60),
    bound=st.integers(1, 2000),
    spread=st.sampled_from([1e-9, 0.1, 1.0, 3.0, 1e30, math.inf]),
)
def test_no_row_whatever_its_values_weighs_more_than_the_bound(seed, size, bound, spread):
    rounding = RandomRounding(bound, size)
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(6, size))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows *= bound * spread
    rows[1] = bound / math.sqrt(size)  # exactly on the bound
    cells, usable = rounding(rows, seeded_stream(seed))
    for row, fine in zip(cells, usable, strict=True):
        assert sum(int(v) ** 2 for v in row) <= bound**2
        assert fine or not row.any()
    assert usable[1] or size * (math.floor(bound / math.sqrt(size))) ** 2 > bound**2
    assert spread <= 3 or not usable[0]


@pytest.mark.parametrize("size", [3, 400])
def test_what_is_clipped_to_the_radius_is_never_left_out_and_the_mean_is_right(size):
    rounding = RandomRounding(8 * math.ceil(math.sqrt(size)), size)
    row = np.random.default_rng(1).normal(size=size)
    row *= rounding.radius / np.linalg.norm(row)
    cells, usable = rounding(np.repeat(row[None], 4000, axis=0), seeded_stream(2))
    assert usable.all()
    assert np.abs(cells - row).max() < 1
    error = cells.mean(axis=0) - row
    assert np.abs(error).max() < 6 * 0.5 / math.sqrt(4000)


def test_a_row_shorter_than_a_cell_everywhere_is_not_lost():
    rounding = RandomRounding(1000, 100)
    cells, _ = rounding(np.full((5000, 100), 0.1), seeded_stream(3))
    assert cells.mean() == pytest.approx(0.1, rel=0.02)


def test_the_radius_costs_little():
    assert RandomRounding(64 * 50, 2500).radius > 0.998 * 64 * 50
