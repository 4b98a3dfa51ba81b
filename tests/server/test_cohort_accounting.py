"""Conditions that look at a device's own past do not cost more privacy than is accounted: computed without the theorem.

Two rounds of a sampled Gaussian with one device beside nobody, whose state decides whether it may take part in the
second round. The Rényi divergence of both outputs together is integrated on a grid and held against what the ledger
debits for two rounds of plain Poisson sampling.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from skerry.security.privacy.accounting import ORDERS, GaussianEvent, rdp

RATE, SIGMA, STEP = 0.3, 1.0, 0.05
AXIS = np.arange(-14.0, 14.0, STEP)
FIRST, SECOND = np.meshgrid(AXIS, AXIS, indexing="ij")
ALPHAS = (2.0, 3.0, 5.0, 8.0)

Grid = npt.NDArray[np.float64]
Rule = Callable[[bool, Grid], Grid | float]
"""With which probability it takes part in round 2, by whether it did in round 1 and by what was released then."""


def density(at: Grid, mean: float) -> Grid:
    return np.exp(-((at - mean) ** 2) / (2 * SIGMA**2)) / np.sqrt(2 * np.pi * SIGMA**2)


def outputs(rule: Rule, second: tuple[float, float]) -> Grid:
    """Density of both releases with the device, which moves the second one by ``second[took part in the first]``."""
    total = np.zeros_like(FIRST)
    for took_part, chance, shift in ((False, 1 - RATE, 0.0), (True, RATE, 1.0)):
        again = rule(took_part, FIRST)
        later = (1 - again) * density(SECOND, 0.0) + again * density(SECOND, second[took_part])
        total += chance * density(FIRST, shift) * later
    return total


def divergence(p: Grid, q: Grid, alpha: float) -> float:
    return float(np.log(np.sum(np.exp(alpha * np.log(p) + (1 - alpha) * np.log(q))) * STEP**2) / (alpha - 1))


def worst(rule: Rule, second: tuple[float, float] = (1.0, 1.0)) -> list[float]:
    """How much more than accounted is spent, at each order, in the worse direction."""
    accounted = rdp(GaussianEvent(SIGMA, RATE, 2), discrete=False)
    without = density(FIRST, 0.0) * density(SECOND, 0.0)
    given = outputs(rule, second)
    return [
        max(divergence(given, without, alpha), divergence(without, given, alpha)) - accounted[ORDERS.index(alpha)]
        for alpha in ALPHAS
    ]


@pytest.mark.parametrize(
    ("rule", "second"),
    [
        (lambda took_part, _: RATE * (not took_part), (1.0, 1.0)),  # rounds_since > 1
        (lambda took_part, _: RATE * took_part, (1.0, 1.0)),
        (lambda _, released: RATE * (released > 0.5), (1.0, 1.0)),  # what was released decides
        (lambda took_part, released: RATE * (took_part or released < 0), (1.0, -1.0)),  # and its update turns round
        (lambda *_: RATE, (1.0, 1.0)),  # everybody may: as accounted, to the last digits
    ],
)
def test_a_device_that_its_own_past_keeps_out_spends_no_more_than_is_accounted(
    rule: Rule, second: tuple[float, float]
) -> None:
    assert max(worst(rule, second)) < 1e-6


def test_where_nobody_is_kept_out_it_is_what_is_accounted() -> None:
    assert max(worst(lambda *_: RATE)) > -1e-6


def test_a_second_chance_for_who_was_not_drawn_would_cost_more() -> None:
    assert max(worst(lambda took_part, _: 0.0 if took_part else 0.6)) > 0.05
