"""Skellam noise: the distribution is the proven one, sums of shares are exact, and its price is the published bound."""

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest

from skerry.errors import InputError
from skerry.security.privacy import (
    ORDERS,
    GaussianEvent,
    Skellam,
    os_stream,
    rdp,
    seeded_stream,
    skellam_rdp,
)


def as_decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)


def exact_weights(variance: Fraction, last: int) -> list[Decimal]:
    """I_k(μ) for k = 0 … last by its power series, all terms of which are positive."""
    half = as_decimal(variance) / 2
    square = half * half
    weights, first = [], Decimal(1)
    for k in range(last + 1):
        term = total = first
        m = 1
        while term > total * Decimal(10) ** -70:
            term *= square / (m * (m + k))
            total += term
            m += 1
        weights.append(total)
        first *= half / (k + 1)
    return weights


@pytest.mark.parametrize("scale", [Fraction(1, 16), Fraction(2, 3), Fraction(5), Fraction(707, 32)])
def test_sampled_probabilities_are_within_the_stated_distance_of_the_exact_ones(scale):
    noise = Skellam(scale)
    last = 2 * len(noise.table.low)
    with localcontext() as context:
        context.prec = 80
        weights = exact_weights(scale**2, last)  # beyond lies less than 2^-200
        total = weights[0] + 2 * sum(weights[1:])
        assert total == pytest.approx(as_decimal(scale**2).exp(), rel=Decimal(10) ** -50)
        sampled = [noise.pmf(k) for k in range(last + 1)]
        error = [abs(as_decimal(p) - w / total) for p, w in zip(sampled, weights, strict=True)]
        assert (error[0] + 2 * sum(error[1:])) / 2 <= as_decimal(noise.tv_bound)
    assert noise.tv_bound < Fraction(1, 2**99)
    assert sampled[0] + 2 * sum(sampled[1:]) == 1


def test_the_bound_holds_at_the_scale_of_a_round():
    """Against the asymptotic series I_k(μ) ~ e^μ/√(2πμ)·Σ (-1)^m a_m(k)/μ^m (DLMF 10.40.1), which here errs by less."""
    scale = Fraction(2.8518) * 4207
    noise = Skellam(scale)
    assert noise.tv_bound < Fraction(1, 2**99)
    with localcontext() as context:
        context.prec = 80
        mu = as_decimal(scale**2)
        pi = Decimal("3.141592653589793238462643383279502884197169399375105820974944592307816406286209")
        for x in (0, 1, 2, 17, 100, 333):
            term = total = Decimal(1)
            for m in range(1, 40):
                term *= -Decimal(4 * x * x - (2 * m - 1) ** 2) / (8 * m * mu)
                total += term
            exact = total / (2 * pi * mu).sqrt()
            assert abs(as_decimal(noise.pmf(x)) - exact) <= Decimal(2) ** -99
    x = np.arange(-100_000, 100_001)
    mass = np.array([float(noise.pmf(int(v))) for v in x[::997]])
    gaussian = np.exp(-(x[::997].astype(float) ** 2) / (2 * float(scale**2))) / math.sqrt(2 * math.pi * float(scale**2))
    assert mass == pytest.approx(gaussian, rel=1e-4, abs=1e-14)


@pytest.mark.parametrize("scale", [Fraction(3, 4), Fraction(20)])
def test_samples_follow_the_probabilities(scale):
    from scipy.stats import skellam

    noise, n = Skellam(scale), 400_000
    found = noise.sample(n, seeded_stream(21, "chi2", scale.numerator))
    half = float(scale**2) / 2
    edge = max(x for x in range(1000) if n * noise.pmf(x) > 20)
    values = np.arange(-edge, edge + 1)
    expected = n * skellam.pmf(values, half, half)
    observed = np.array([np.count_nonzero(found == x) for x in values])
    expected, observed = np.append(expected, n - expected.sum()), np.append(observed, n - observed.sum())
    statistic = float(((observed - expected) ** 2 / expected).sum())
    assert abs(statistic - len(values)) < 5 * math.sqrt(2 * len(values))


def test_the_sum_of_two_shares_is_the_whole_exactly():
    """Closure, as probabilities: the convolution of two shares' tables is the table of the sum."""
    one, other, both = Skellam(Fraction(3)), Skellam(Fraction(4)), Skellam(Fraction(5))
    reach = 60
    first = {x: one.pmf(x) for x in range(-reach, reach + 1)}
    for total in (0, 1, -3, 10, 25):
        convolved = sum(p * other.pmf(total - x) for x, p in first.items())
        assert abs(convolved - both.pmf(total)) < Fraction(1, 2**90)


def test_the_sum_of_many_shares_follows_the_distribution_of_the_whole():
    n, shares = 100_000, 16
    part, whole = Skellam(Fraction(5, 2)), Skellam(10)
    found = sum(part.sample(n, seeded_stream(31, "share", i)) for i in range(shares))
    edge = max(x for x in range(1000) if n * whole.pmf(x) > 20)
    values = np.arange(-edge, edge + 1)
    expected = n * np.array([float(whole.pmf(int(x))) for x in values])
    observed = np.array([np.count_nonzero(found == x) for x in values])
    statistic = float(((observed - expected) ** 2 / expected).sum())
    assert abs(statistic - len(values)) < 5 * math.sqrt(2 * len(values))


def test_the_same_stream_gives_the_same_noise_and_another_gives_other_noise():
    noise = Skellam(Fraction(25, 2))
    first, again = (noise.sample(5000, seeded_stream(5, "noise")) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(noise.sample(5000, os_stream()), noise.sample(5000, os_stream()))


@pytest.mark.parametrize(("scale", "shift"), [(4, 1), (4, 3), (16, 16), (Fraction(7, 2), 2), (2, 4)])
@pytest.mark.parametrize("order", [2, 3, 8, 17])
def test_the_price_covers_the_divergence_of_the_sampled_probabilities(scale, shift, order):
    """One coordinate, by summation of the table itself; the logarithm in 60 digits."""
    noise = Skellam(scale)
    reach = len(noise.table.low) - shift - 1
    with localcontext() as context:
        context.prec = 60
        mass = {x: as_decimal(noise.pmf(x)) for x in range(reach + shift + 1)}
        inner = math.floor(9 * scale)  # what lies outside is below what the bound leaves free
        total = sum(
            mass[abs(x - shift)] ** order / mass[abs(x)] ** (order - 1)
            for x in range(-inner, inner + order * shift + 1)
            if abs(x) in mass and abs(x - shift) in mass and mass[abs(x)] > Decimal(2) ** -95
        )
        divergence = float(total.ln() / (order - 1))
    bound = float(skellam_rdp(order, Fraction(scale), shift, shift))
    gaussian = order * shift**2 / (2 * float(scale) ** 2)
    assert divergence <= bound
    if gaussian < 2:
        assert bound <= 1.7 * max(divergence, gaussian)


def test_at_the_scale_of_a_round_it_costs_what_the_gaussian_costs():
    sigma, bound = 3.0, 4207
    gaussian = rdp(GaussianEvent(sigma))
    for order in (2, 10, 96, 1024):
        price = float(skellam_rdp(order, Fraction(sigma) * bound, bound))
        ideal = gaussian[ORDERS.index(float(order))]
        assert ideal < price < ideal * (1 + 1e-4)


@pytest.mark.parametrize("arguments", [(1, 5, 1), (2.5, 5, 1), (2, 0, 1), (2, 5, -1), (2, 5, 1, -1)])
def test_what_the_theorem_does_not_cover_is_refused(arguments):
    order, scale, l2, *l1 = arguments
    with pytest.raises(InputError, match="integer orders"):
        skellam_rdp(order, Fraction(scale), l2, *l1)


@pytest.mark.parametrize("scale", [0, -1, Fraction(1, 17), 2**16 + 1])
def test_a_scale_out_of_range_is_refused(scale):
    with pytest.raises(InputError, match="scale"):
        Skellam(scale)
