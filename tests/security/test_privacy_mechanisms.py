"""The discrete Gaussian: the distribution is the proven one, and no floating-point noise exists anywhere."""

import itertools
import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest

from skerry.errors import InputError
from skerry.security.privacy import (
    MAX_SCALE,
    SAMPLER_SHARE,
    DiscreteGaussian,
    GaussianEvent,
    epsilon_from_rdp,
    os_stream,
    rdp,
    sampling_delta,
    seeded_stream,
)

PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211707")


class FixedWords:
    """A stream that gives chosen words, then chosen low words one by one."""

    is_seeded = True

    def __init__(self, words, low=()):
        self._words, self._low = words, list(low)

    def uint64(self, n):
        if self._words is not None:
            words, self._words = self._words, None
            return np.array(words, np.uint64)
        assert n == 1
        return np.array([self._low.pop(0)], np.uint64)


def as_decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)


def exact_weights(scale: Fraction, last: int) -> list[Decimal]:
    power = Decimal(-(scale.denominator**2)) / Decimal(2 * scale.numerator**2)
    return [(power * k * k).exp() for k in range(last + 1)]


@pytest.mark.parametrize("scale", [Fraction(1, 16), Fraction(2, 3), Fraction(5), Fraction(314159, 1000)])
def test_sampled_probabilities_are_within_the_stated_distance_of_the_exact_ones(scale):
    noise = DiscreteGaussian(scale)
    last = len(noise.table.low)
    with localcontext() as context:
        context.prec = 60
        weights = exact_weights(scale, 2 * last)  # beyond lies less than 2^-400
        total = weights[0] + 2 * sum(weights[1:])
        sampled = [noise.pmf(k) for k in range(2 * last + 1)]
        error = [abs(as_decimal(p) - w / total) for p, w in zip(sampled, weights, strict=True)]
        distance = (error[0] + 2 * sum(error[1:])) / 2
        assert distance <= as_decimal(noise.tv_bound)
    assert noise.tv_bound < Fraction(1, 2**99)
    assert sampled[0] + 2 * sum(sampled[1:]) == 1


def test_the_bound_holds_at_the_scale_of_a_round():
    scale = Fraction(2.8518) * 4207  # about 12,000, and not an integer
    noise = DiscreteGaussian(scale)
    with localcontext() as context:
        context.prec = 60
        s = as_decimal(scale)
        total = s * (2 * PI).sqrt()  # Poisson summation: the next term is exp(-2π²s²), nothing at 60 digits
        for x in [*range(10), *range(100, 120_000, 797)]:
            exact = (-(x * x) / (2 * s * s)).exp() / total
            assert abs(as_decimal(noise.pmf(-x)) - exact) <= Decimal(2) ** -99
    cumulative = [noise.table.cumulative(k) for k in range(-1, len(noise.table.low) + 2)]
    assert cumulative[0] == 0
    assert cumulative[-1] == 2**127
    assert all(a <= b for a, b in itertools.pairwise(cumulative))


@pytest.mark.parametrize("scale", [Fraction(3, 4), Fraction(20)])
def test_samples_follow_the_probabilities(scale):
    noise, n = DiscreteGaussian(scale), 400_000
    found = noise.sample(n, seeded_stream(11, "chi2", scale.numerator))
    edge = max(x for x in range(1000) if n * noise.pmf(x) > 20)
    values = np.arange(-edge, edge + 1)
    expected = n * np.array([float(noise.pmf(int(x))) for x in values])
    observed = np.array([np.count_nonzero(found == x) for x in values])
    expected, observed = np.append(expected, n - expected.sum()), np.append(observed, n - observed.sum())
    statistic = float(((observed - expected) ** 2 / expected).sum())
    freedom = len(values)
    assert abs(statistic - freedom) < 5 * math.sqrt(2 * freedom)


def test_wide_samples_follow_the_probabilities():
    scale, n = 12_000, 1_000_000
    noise = DiscreteGaussian(scale)
    found = noise.sample(n, seeded_stream(12))
    assert found.dtype == np.int64
    edges = np.arange(-4 * scale, 4 * scale + 1, scale // 8)
    at = np.array([noise.table.cumulative(int(abs(e))) / 2**127 for e in edges])  # P(|X| ≤ |e|)
    below = np.where(edges < 0, (1 - at) / 2 + [float(noise.pmf(int(e))) for e in edges], (1 + at) / 2)
    expected = n * np.diff(below)
    observed = np.histogram(found, bins=edges + 0.5)[0]
    statistic = float(((observed - expected) ** 2 / expected).sum())
    assert abs(statistic - len(expected)) < 5 * math.sqrt(2 * len(expected))
    assert abs(found.mean()) < 5 * scale / math.sqrt(n)
    assert abs(found.var() / scale**2 - 1) < 5 * math.sqrt(2 / n)


@pytest.mark.parametrize("scale", [Fraction(1, 2), Fraction(3), Fraction(40)])
def test_every_uniform_number_is_looked_up_exactly_also_where_upper_words_tie(scale):
    noise = DiscreteGaussian(scale)
    entries = [noise.table.cumulative(k) for k in range(len(noise.table.low))]
    numbers = {0, 2**127 - 1}
    for value in entries:  # the number at, just below and just above each entry: all tie in their upper word
        numbers |= {min(max(value + step, 0), 2**127 - 1) for step in (-1, 0, 1)}
    for number in sorted(numbers):
        expected = sum(value <= number for value in entries)
        for sign in (0, 1):
            stream = FixedWords([number >> 64 << 1 | sign], [number & (2**64 - 1)])
            assert noise.sample(1, stream)[0] == (-expected if sign else expected)


def test_ties_are_resolved_without_disturbing_their_neighbours():
    noise = DiscreteGaussian(3)
    tie = noise.table.cumulative(2) >> 64
    low = noise.table.cumulative(2) & (2**64 - 1)
    middle = noise.sample(1, FixedWords([1 << 63]))[0]
    words = [0, tie << 1, 1 << 63, tie << 1 | 1]
    assert noise.sample(4, FixedWords(words, [low, low - 1])).tolist() == [0, 3, middle, -2]


def test_the_same_stream_gives_the_same_noise_and_another_gives_other_noise():
    noise = DiscreteGaussian(Fraction(25, 2))
    first, again = (noise.sample(5000, seeded_stream(5, "noise")) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, noise.sample(5000, seeded_stream(6, "noise")))
    assert not np.array_equal(noise.sample(5000, os_stream()), noise.sample(5000, os_stream()))


@pytest.mark.parametrize("scale", [0, -1, Fraction(1, 17), MAX_SCALE + 1])
def test_a_scale_out_of_range_is_refused(scale):
    with pytest.raises(InputError, match="scale"):
        DiscreteGaussian(scale)


def test_numpy_random_is_never_used(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("floating-point noise on the private path")

    for name in ("normal", "standard_normal", "default_rng", "rand", "randn", "random", "seed"):
        monkeypatch.setattr(np.random, name, refuse)
    DiscreteGaussian(Fraction(7, 3)).sample(100, os_stream())


@pytest.mark.parametrize(
    ("sigma", "bound", "shift"), [(1.0, 16, 16), (2.8518, 40, 40), (2.8518, 40, 39), (0.5, 100, 100)]
)
def test_the_sampled_mechanism_keeps_the_epsilon_that_is_claimed(sigma, bound, shift):
    """The exact δ of one coordinate, from the sampler's own probabilities, in both directions of add/remove."""
    noise = DiscreteGaussian(Fraction(sigma) * bound)
    for delta in (1e-2, 1e-5, 1e-9):
        epsilon, _ = epsilon_from_rdp(rdp(GaussianEvent(sigma)), delta)
        factor = Fraction(math.exp(epsilon))
        reach = len(noise.table.low) + shift
        for direction in (shift, -shift):
            excess = (noise.pmf(x) - factor * noise.pmf(x - direction) for x in range(-reach, reach + 1))
            assert sum(e for e in excess if e > 0) <= delta


def test_the_share_of_delta_kept_for_sampling_is_enough():
    noise = DiscreteGaussian(MAX_SCALE // 4)
    a_million_coordinates_a_million_steps = 10**12
    for epsilon, delta in ((8.0, 1e-5), (1.0, 1e-9)):
        assert sampling_delta(epsilon, a_million_coordinates_a_million_steps, noise.tv_bound) < delta * SAMPLER_SHARE
    assert sampling_delta(math.log(3), 5, Fraction(1, 2)) == pytest.approx(10.0)
