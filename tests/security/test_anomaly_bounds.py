"""The closed-form bounds are above the exact tails, and not by much."""

import numpy as np
import pytest

from skerry.security.anomaly.bounds import largest_norm, normal_quantile, smallest_norm

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize("error", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("dimension", [10, 650, 2570, 100_000])
@pytest.mark.parametrize("signal", [0.0, 3.0, 20.0, 41.0, 300.0])
def test_honest_norms_exceed_the_upper_bound_less_often_than_stated(
    dimension: int, signal: float, error: float
) -> None:
    bound = largest_norm(dimension, signal, error)
    exact = stats.chi2.sf(bound**2, dimension) if signal == 0 else stats.ncx2.sf(bound**2, dimension, signal**2)
    assert exact <= error
    longer = largest_norm(dimension, signal, error, steps=3)
    assert longer >= bound - 1e-9


@pytest.mark.parametrize("error", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("dimension", [10, 650, 2570, 100_000])
def test_honest_norms_fall_below_the_lower_bound_less_often_than_stated(dimension: int, error: float) -> None:
    assert stats.chi2.cdf(smallest_norm(dimension, error) ** 2, dimension) <= error
    assert stats.chi2.cdf(smallest_norm(dimension, error, steps=4) ** 2 * 4, dimension) <= error


def test_in_the_default_setting_the_bounds_are_tight_enough_to_be_of_use() -> None:
    """An honest norm is about √2570 ≈ 50.7; a fourfold one 203."""
    assert 50.7 < largest_norm(2570, 41.3, 1e-9) < 75
    assert 45 < smallest_norm(2570, 1e-9) < 50.7


@pytest.mark.parametrize("error", [0.5, 1e-2, 1e-6, 1e-9])
def test_the_quantile_is_that_of_the_normal_distribution(error: float) -> None:
    assert normal_quantile(error) == pytest.approx(-stats.norm.ppf(error), rel=1e-9, abs=1e-12)


def test_noise_of_the_discrete_mechanism_keeps_the_bounds() -> None:
    """Whole-number noise of a device: norms of 2,000 vectors stay within what 10⁻⁶ allows."""
    rng = np.random.default_rng(0)
    noise = np.rint(rng.normal(0, 1000, (2000, 650)))
    norms = np.linalg.norm(noise, axis=1) / 1000
    assert norms.max() <= largest_norm(650, 0.0, 1e-6)
    assert norms.min() >= smallest_norm(650, 1e-6)
