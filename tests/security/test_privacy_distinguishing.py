"""What the low bits of released numbers give away: much with floating-point noise, nothing with noise on the grid.

Mironov 2012: floating-point noise near -1 has a coarser spacing than noise near 0, so whether 1 was added shows in
the last bits of the sum. The same look is taken here at floating-point noise, where it must succeed (else it would
prove nothing), and at what :class:`Grid` releases, where it must not.
"""

import math

import numpy as np
import pytest

from skerry.device.training import Grid
from skerry.security.privacy import derive_generator, seeded_stream

N = 1 << 20
WINDOW = 0.25


def coarse(values):
    """Whether values near 0 are multiples of the spacing of float64 between 1/2 and 1."""
    near = values[np.abs(values) < WINDOW]
    return np.mod(near / (np.finfo(np.float64).eps / 2), 1.0) == 0


def told_apart(without, with_one):
    """Difference of the shares of coarse values, and five standard errors of it."""
    a, b = coarse(without), coarse(with_one)
    return abs(a.mean() - b.mean()), 5 * math.sqrt(0.25 / len(a) + 0.25 / len(b))


def test_the_look_tells_floating_point_noise_apart():
    generator = derive_generator(3, "float noise")
    difference, _ = told_apart(generator.normal(size=N), generator.normal(size=N) + 1.0)
    assert difference > 0.8


@pytest.mark.parametrize("clip", [1.0, 0.7])
def test_the_look_tells_released_sums_not_apart(clip):
    grid = Grid(clip, 1.0, N)
    unit = np.full(N, grid.bound)  # in every coordinate as far apart as one example can be in one
    without = grid.release(np.zeros(N, np.int64), seeded_stream(4, "without")) / clip
    with_one = grid.release(unit, seeded_stream(4, "with")) / clip
    difference, chance = told_apart(without, with_one)
    assert difference <= chance


def test_every_released_number_is_one_of_the_same_multiples_whatever_the_sum():
    grid = Grid(0.7, 1.0, 50_000)
    possible = np.arange(-200_000, 200_001) * grid.cell
    for total in (0, 1, grid.bound):
        out = grid.release(np.full(grid.size, total), seeded_stream(5, total))
        assert np.isin(out, possible).all()
