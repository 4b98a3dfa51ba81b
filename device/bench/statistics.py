"""What is said of a series of latencies: percentiles, throughput, and whether they drift."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Drift", "Latency", "drift", "latency", "median_upper", "theil_sen"]

_BINS = 60
_Z95 = 1.959964


@dataclass(frozen=True)
class Latency:
    """Latencies of single calls, in milliseconds; percentiles by linear interpolation.

    Attributes:
        n: calls measured.
    """

    n: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float
    min_ms: float
    max_ms: float


@dataclass(frozen=True)
class Drift:
    """Whether latency changes while a model runs without a pause.

    Attributes:
        first_ms: median of the first tenth of the time.
        last_ms: median of the last tenth of the time.
        ratio: ``last_ms / first_ms``.
        slope_percent_per_minute: Theil-Sen slope over medians of equal stretches of time, against the first tenth.
        low: lower end of the slope's 95 % confidence interval, same unit.
        high: upper end.
        drifts: the interval leaves out 0 and the last tenth differs from the first by more than 5 %.
    """

    first_ms: float
    last_ms: float
    ratio: float
    slope_percent_per_minute: float
    low: float
    high: float
    drifts: bool


def latency(seconds: Sequence[float]) -> Latency:
    """Summary of a non-empty series of latencies in seconds."""
    ms = np.asarray(seconds) * 1e3
    p50, p95, p99 = (float(value) for value in np.percentile(ms, [50, 95, 99]))
    return Latency(len(ms), p50, p95, p99, float(ms.mean()), float(ms.min()), float(ms.max()))


def drift(ends: Sequence[float], seconds: Sequence[float]) -> Drift:
    """Drift of a series.

    Args:
        ends: when each call ended, in seconds from the start, rising.
        seconds: how long each took.
    """
    at, ms = np.asarray(ends), np.asarray(seconds) * 1e3
    first = float(np.median(ms[at <= at[0] + (at[-1] - at[0]) / 10]))
    last = float(np.median(ms[at >= at[-1] - (at[-1] - at[0]) / 10]))
    bins = np.array_split(np.arange(len(ms)), min(_BINS, len(ms)))
    times = np.array([at[part].mean() for part in bins])
    slope, low, high = theil_sen(times, np.array([np.median(ms[part]) for part in bins]))
    slope, low, high = (100 * 60 * value / first for value in (slope, low, high))
    ratio = last / first
    return Drift(first, last, ratio, slope, low, high, drifts=(low > 0 or high < 0) and abs(ratio - 1) > 0.05)


def median_upper(values: Sequence[float]) -> float:
    """Upper end of the one-sided 95 % interval of the median: an order statistic, whatever the distribution.

    Args:
        values: independent; the largest is given where there are fewer than five.
    """
    n, below = len(values), 0
    for rank, value in enumerate(sorted(values)):
        below += math.comb(n, rank)  # this value is below the median only if no more than ``rank`` of them are
        if 20 * below >= 19 * 2**n:  # in whole numbers: a float ends at 2¹⁰²⁴
            return value
    return max(values)


def theil_sen(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[float, float, float]:
    """Median of the slopes between all pairs of points, and its 95 % confidence interval.

    Unmoved by outliers in up to 29 % of the points. The interval assumes independent errors.

    Args:
        x: ``(n,)`` distinct.
        y: ``(n,)``.

    Returns:
        Slope, lower end, upper end; all 0 for fewer than two points.

    Source: P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63 (1968).
    """
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    i, j = np.triu_indices(len(xs), 1)
    if not len(i):
        return 0.0, 0.0, 0.0
    slopes = np.sort((ys[j] - ys[i]) / (xs[j] - xs[i]))
    n = len(xs)
    _, ties = np.unique(ys, return_counts=True)
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    reach = _Z95 * math.sqrt(max(0.0, variance))
    low = max(0, round((len(slopes) - reach) / 2) - 1)
    high = min(len(slopes) - 1, round((len(slopes) + reach) / 2))
    return float(np.median(slopes)), float(slopes[low]), float(slopes[high])
