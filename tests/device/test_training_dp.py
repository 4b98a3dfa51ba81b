"""The private sum: sensitivity is a matter of integers, and nothing but the grid ever comes out."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.device.training import Grid
from skerry.errors import InputError
from skerry.security.privacy import GaussianEvent, WideGaussian, seeded_stream


def summed(grid, rows):
    total = np.zeros(grid.size, np.int64)
    dropped = grid.add(np.array(rows, np.float64), total)
    return total, dropped


@pytest.mark.parametrize(("sigma", "size"), [(0.01, 10), (0.5, 2570), (2.8518, 2570), (40.0, 2570), (1.0, 100_000)])
def test_bound_radius_and_noise_fit_together(sigma, size):
    grid = Grid(1.5, sigma, size)
    assert grid.bound >= 8 * math.sqrt(size)
    assert grid.radius == grid.bound - math.sqrt(size) / 2
    assert grid.noise.scale == Fraction(sigma) * grid.bound  # exact: no rounding between what is drawn and accounted
    assert grid.noise.scale <= 2**14 or grid.bound == math.ceil(8 * math.sqrt(size))
    assert grid.cell * grid.bound == pytest.approx(1.5)
    assert grid.event == GaussianEvent(sigma)


@pytest.mark.parametrize("clip", [5e-324, 1e-312])
def test_a_clip_that_no_cell_is_small_enough_for_is_refused_whatever_the_data(clip):
    """A division by zero at the first gradient would tell that there is one."""
    with pytest.raises(InputError, match=r"a clip of .* is too small"):
        Grid(clip, 1.0, 4)
    grid = Grid(1e-290, 1.0, 4)
    assert summed(grid, np.full((1, 4), 1e-291) * grid.factors(np.array([2e-291]))[:, None])[0].all()


@pytest.mark.parametrize("sigma", [5e-324, 1e-300])
def test_less_noise_than_can_be_drawn_is_refused(sigma):
    with pytest.raises(InputError, match="the noise's scale is"):
        Grid(1.0, sigma, 4)


def test_rounding_costs_half_a_percent_of_the_clip_in_the_shipped_setting():
    grid = Grid(1.0, 3.0, 2570)
    assert grid.bound == 5461
    assert 1 - grid.radius / grid.bound < 0.005


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 60),
    sigma=st.floats(0.05, 30),
    clip=st.floats(1e-6, 1e6),
    spread=st.sampled_from([1e-9, 1.0, 1e9, 1e150]),
)
def test_no_gradient_whatever_its_values_weighs_more_than_the_bound(seed, size, sigma, clip, spread):
    grid = Grid(clip, sigma, size)
    generator = np.random.default_rng(seed)
    gradients = generator.standard_cauchy((8, size)) * spread
    gradients[0] = clip / math.sqrt(size)  # every coordinate rounds the same way
    gradients[1, generator.integers(size)] = generator.choice([np.nan, np.inf, -np.inf])
    with np.errstate(all="ignore"):
        rows = gradients * grid.factors(np.linalg.norm(gradients, axis=1))[:, None]
        for row in rows:
            vector, _ = summed(grid, [row])
            assert sum(int(v) ** 2 for v in vector) <= grid.bound**2  # Python integers: no overflow can hide
        assert summed(grid, rows[2:])[1] == 0 or spread == 1e150  # a norm that overflows is left out


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_rows_that_were_not_clipped_are_left_out_by_the_integer_check(seed):
    grid = Grid(1.0, 3.0, 40)
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(20, 40)) * grid.bound * generator.choice([0.05, 0.15, 0.17, 1.0, 1e30], (20, 1))
    rows[3, 5], rows[7, 1] = np.nan, np.inf
    total, dropped = summed(grid, rows)
    expected, left_out = np.zeros(40, np.int64), 0
    for row in rows:
        cells = [round(v) for v in row] if np.isfinite(row).all() else None
        if cells is None or sum(c * c for c in cells) > grid.bound**2:
            left_out += 1
        else:
            expected += np.array(cells)
    assert dropped == left_out >= 2
    assert np.array_equal(total, expected)


def test_a_vector_exactly_on_the_bound_counts_and_one_cell_more_does_not():
    grid = Grid(1.0, 3.0, 4)
    on = [[grid.bound, 0, 0, 0]]
    beyond = [[grid.bound, 1, 0, 0]]
    assert summed(grid, on)[1] == 0
    assert summed(grid, beyond)[1] == 1
    assert not summed(grid, beyond)[0].any()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 40),
    sigma=st.sampled_from([0.01, 1.0, 5.0]),
    spread=st.sampled_from([1e-6, 1.0, 1e9]),
)
def test_pieces_are_clipped_rounded_and_checked_like_whole_rows(seed, count, sigma, spread):
    sizes = (1, 16_400, 7)  # more columns than are worked on at a time
    grid = Grid(0.7, sigma, sum(sizes))
    generator = np.random.default_rng(seed)
    pieces = [generator.normal(size=(count, size)) * spread for size in sizes]
    whole = np.concatenate(pieces, 1)
    norms = np.linalg.norm(whole, axis=1)
    lying, broken = generator.integers(count), generator.integers(count)
    norms[lying] /= 3
    pieces[1][broken, 5] = whole[broken, 6] = np.nan
    norms[broken] = np.nan
    total, expected = np.zeros(grid.size, np.int64), np.zeros(grid.size, np.int64)
    with np.errstate(all="ignore"):
        dropped = grid.add_clipped(norms, pieces, total)
        assert dropped == grid.add(whole * grid.factors(norms)[:, None], expected)
    assert dropped == len({lying, broken} if spread > 1e-6 else {broken})
    assert np.array_equal(total, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_piece_exactly_on_the_bound_counts_and_one_cell_more_does_not(dtype):
    grid = Grid(1.0, 3.0, 4)
    for beyond, dropped in ((0, 0), (1, 1)):
        total = np.ones(4, np.int64)
        pieces = [np.array([[1.0, beyond * grid.cell]], dtype), np.zeros((1, 2), dtype)]
        assert grid.add_clipped(np.array([1e-3]), pieces, total) == dropped  # said to be too short to be clipped
        assert total.tolist() == [1 + grid.bound * (1 - dropped), 1, 1, 1]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_left_out_though_the_norm_did_not_tell(wrong):
    grid = Grid(1.0, 3.0, 20_004)
    pieces = [np.full((3, 4), 0.01, np.float32), np.full((3, 20_000), 1e-3, np.float32)]
    expected, total = np.zeros(grid.size, np.int64), np.zeros(grid.size, np.int64)
    assert grid.add_clipped(np.ones(2), [piece[::2] for piece in pieces], expected) == 0
    pieces[1][1, 17_000] = wrong
    with np.errstate(all="ignore"):
        assert grid.add_clipped(np.ones(3), pieces, total) == 1
    assert expected.any()
    assert np.array_equal(total, expected)


def test_many_float32_rows_add_up_exactly():
    grid = Grid(1.0, 0.01, 3)
    rows = np.tile(np.array([[0.9, 0.3, -0.2]], np.float32), (3000, 1))
    one, total = np.zeros(3, np.int64), np.zeros(3, np.int64)
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    assert grid.add_clipped(norms[:1], [rows[:1]], one) == grid.add_clipped(norms, [rows], total) == 0
    assert np.abs(one).max() * 3000 > 2**24
    assert np.array_equal(total, 3000 * one)


def test_only_multiples_of_a_cell_come_out_and_the_same_ones_for_every_neighbour():
    grid = Grid(1.0, 2.0, 50)
    total = np.arange(-25, 25) * 100
    out = grid.release(total, seeded_stream(1))
    cells = np.rint(out / grid.cell)
    assert np.array_equal(cells * grid.cell, out)
    neighbour = total + 7
    shifted = grid.release(neighbour, seeded_stream(1))
    assert np.array_equal(np.rint(shifted / grid.cell) - cells, np.full(50, 7.0))


def test_the_noise_has_the_accounted_size():
    grid = Grid(0.5, 3.0, 100_000)
    out = grid.release(np.zeros(grid.size, np.int64), seeded_stream(2))
    assert out.std() == pytest.approx(3.0 * 0.5, rel=0.02)
    assert abs(out.mean()) < 5 * 1.5 / math.sqrt(grid.size)


def test_vectors_whose_squares_would_overflow_are_refused():
    with pytest.raises(InputError, match="64-bit"):
        Grid(1.0, 0.001, 2**23)


def test_where_one_table_ends_two_go_on_and_the_grid_stays_as_fine():
    size, sigma = 4_000_000, 6.0  # 8·√d cells of this noise need a scale of 96,000
    grid = Grid(1.0, sigma, size)
    assert grid.bound == 8 * math.sqrt(size)
    assert isinstance(grid.noise, WideGaussian)
    assert grid.noise.scale == Fraction(sigma) * grid.bound
    out = Grid(1.0, 6.0, 4_000_000).release(np.zeros(4_000_000, np.int64), seeded_stream(3))
    assert out.std() == pytest.approx(6.0, rel=0.01)


def test_where_samplers_end_the_grid_gets_coarser_before_anything_is_refused():
    size, sigma = 4_000_000, 9000.0
    grid = Grid(1.0, sigma, size)
    assert 4 * math.sqrt(size) <= grid.bound < 8 * math.sqrt(size)
    assert sigma * grid.bound <= 2**27


def test_more_noise_than_samplers_reach_is_refused_with_a_way_out():
    with pytest.raises(InputError, match="scale") as refused:
        Grid(1.0, 1e6, 100_000)
    assert refused.value.mend
