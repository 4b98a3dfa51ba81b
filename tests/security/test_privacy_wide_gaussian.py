"""Noise from two tables: the discrete Gaussian it stands for, and none of the seams."""

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest

from skerry.errors import InputError
from skerry.security.privacy import MAX_WIDE_SCALE, WideGaussian, seeded_stream
from skerry.security.privacy.mechanisms import wide_gaussian


def test_the_parts_add_up_to_the_variance_and_the_bound_is_small():
    for scale in (2**16, Fraction(314159, 2), MAX_WIDE_SCALE):
        noise = WideGaussian(scale)
        assert noise.tv_bound < Fraction(1, 2**98)
        v2 = (Fraction(scale) ** 2 - wide_gaussian._FINE**2) / wide_gaussian._STEP**2
        assert wide_gaussian._FINE**2 + wide_gaussian._STEP**2 * v2 == Fraction(scale) ** 2
        assert 1 / (Fraction(wide_gaussian._STEP**2) / wide_gaussian._FINE**2 + 1 / v2) > Fraction(7)


@pytest.mark.parametrize(("m", "v1", "v2"), [(4, 64, 64), (4, 16, 64)])
def test_the_sum_of_a_fine_and_a_coarse_gaussian_is_a_gaussian_when_the_fine_one_covers_the_steps(m, v1, v2):
    """The proof in small: Σ_y g₁(x - my)·g₂(y) over exp(-x²/2s²) is the same for every x, to exp(-2π²t)."""
    s2 = v1 + m * m * v2
    t = 1 / (m * m / v1 + 1 / v2)
    with localcontext() as context:
        context.prec = 90
        ratios = [
            sum(
                (-(Decimal((x - m * y) ** 2) / (2 * v1)) - Decimal(y * y) / (2 * v2)).exp()
                for y in range(-40 * math.isqrt(v2), 40 * math.isqrt(v2) + 1)
            )
            / (-(Decimal(x * x) / (2 * s2))).exp()
            for x in range(2 * m)
        ]
        spread = max(ratios) / min(ratios) - 1
        bound = Decimal(9 * math.exp(-2 * math.pi**2 * t))  # (1 + d)/(1 - d) - 1
        assert bound / 10 < spread <= bound


def test_wide_samples_follow_the_gaussian():
    n, scale = 1_000_000, 3_000_000
    found = WideGaussian(scale).sample(n, seeded_stream(41))
    assert found.dtype == np.int64
    edges = np.arange(-4 * scale, 4 * scale + 1, scale // 8)
    cumulative = np.array([math.erf((e + 0.5) / scale / math.sqrt(2)) / 2 for e in edges])
    expected = n * np.diff(cumulative)
    observed = np.histogram(found, bins=edges + 0.5)[0]
    statistic = float(((observed - expected) ** 2 / expected).sum())
    assert abs(statistic - len(expected)) < 5 * math.sqrt(2 * len(expected))
    assert abs(found.var() / scale**2 - 1) < 5 * math.sqrt(2 / n)


@pytest.mark.parametrize("step", [2, 3, 4096, 8192, 10_007])
def test_no_step_shows_through(step):
    """Residues are uniform: a table's step must leave no comb."""
    n = 400_000
    found = WideGaussian(1_000_000).sample(n, seeded_stream(42, step))
    counts = np.bincount(np.mod(found, step), minlength=step)
    statistic = float(((counts - n / step) ** 2 / (n / step)).sum())
    assert abs(statistic - (step - 1)) < 5 * math.sqrt(2 * (step - 1))


@pytest.mark.parametrize("scale", [0, 2**16 - 1, MAX_WIDE_SCALE + 1])
def test_a_scale_out_of_range_is_refused(scale):
    with pytest.raises(InputError, match="scale"):
        WideGaussian(scale)
