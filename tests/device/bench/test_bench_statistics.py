"""Percentiles, slopes and drift are those of the field's own implementations."""

import numpy as np
import pytest
from scipy.stats import theilslopes

from skerry.device.bench.statistics import drift, latency, theil_sen


def test_percentiles_are_in_milliseconds():
    found = latency([i / 1000 for i in range(1, 101)])
    assert (found.n, found.min_ms, found.max_ms) == (100, 1.0, 100.0)
    assert found.p50_ms == pytest.approx(50.5)
    assert found.p95_ms == pytest.approx(95.05)
    assert found.p99_ms == pytest.approx(99.01)


@pytest.mark.parametrize("seed", range(5))
def test_slope_and_interval_are_scipys(seed):
    random = np.random.default_rng(seed)
    x = np.sort(random.uniform(0, 60, 40))
    y = random.integers(0, 9, 40) + 0.03 * x if seed % 2 else random.normal(size=40) - 0.05 * x
    expected = theilslopes(y, x, alpha=0.95)
    assert theil_sen(x, y) == pytest.approx((expected.slope, expected.low_slope, expected.high_slope))


def series(change: float, seed: int = 0):
    """A minute of calls around 10 ms, ``change`` slower at the end, with outliers."""
    random = np.random.default_rng(seed)
    ends = np.linspace(0.01, 60, 3000)
    ms = 10 * (1 + change * ends / 60) * random.lognormal(sigma=0.03, size=3000)
    ms[random.integers(0, 3000, 60)] *= 5
    return ends, ms / 1000


def test_a_device_that_gets_slower_drifts():
    found = drift(*series(0.3))
    assert found.drifts
    assert found.slope_percent_per_minute == pytest.approx(30, abs=3)
    assert found.ratio == pytest.approx(1.3, abs=0.04)


def test_noise_and_outliers_are_no_drift():
    assert not any(drift(*series(0.0, seed)).drifts for seed in range(5))


def test_a_slope_that_is_sure_and_too_small_to_matter_is_no_drift():
    found = drift(*series(0.03))
    assert found.low > 0
    assert not found.drifts


def test_a_single_call_has_no_slope():
    assert drift([1.0], [0.5]).slope_percent_per_minute == 0
