"""Standing: evidence that fades, and appeals that take it back."""

import math
import random

import pytest

from skerry.errors import InputError
from skerry.server.registry import (
    Appeal,
    Observation,
    Reputation,
    reputation,
    trace,
)

from ._registry import DAY, NOW


@pytest.mark.parametrize("half_life", [1.0, 30.0, 365.0])
def test_evidence_counts_half_after_each_half_life(half_life: float) -> None:
    events = [Observation(0, accepted=True), Observation(0, accepted=False), Observation(0, accepted=False)]
    for lives in (0, 1, 2, 7.5):
        found = reputation(events, round(lives * half_life * DAY), half_life)
        assert found.accepted == pytest.approx(0.5**lives)
        assert found.rejected == pytest.approx(2 * 0.5**lives)
        assert found.score == pytest.approx((0.5**lives + 1) / (3 * 0.5**lives + 2))


def test_the_reputation_is_the_sum_of_faded_observations_whatever_their_order() -> None:
    chance = random.Random(7)
    events = [Observation(chance.randrange(400 * DAY), chance.random() < 0.6) for _ in range(200)]
    now = 400 * DAY
    found = reputation(events, now, 50.0)
    for kind, value in ((True, found.accepted), (False, found.rejected)):
        ages = [(now - event.at) / DAY for event in events if event.accepted is kind]
        assert value == pytest.approx(math.fsum(2 ** (-age / 50.0) for age in ages))
    assert reputation(events[::-1], now, 50.0) == found
    assert 0 < found.score < 1


def test_nothing_known_is_one_half_and_so_is_what_was_forgotten() -> None:
    assert reputation([], NOW, 30.0) == Reputation(0.0, 0.0)
    assert Reputation().score == 0.5
    past = [Observation(0, accepted=False)] * 50
    assert reputation(past, 0, 30.0).score < 0.02
    assert reputation(past, 3000 * DAY, 30.0).score == pytest.approx(0.5)


def test_an_appeal_takes_back_its_share_of_what_was_held_before_it_and_nothing_of_what_comes_after() -> None:
    past = [Observation(0, accepted=False)] * 4 + [Observation(0, accepted=True)]
    half = reputation([*past, Appeal(DAY, 0.5)], DAY, 1e9)
    assert (half.accepted, half.rejected) == (pytest.approx(1), pytest.approx(2))
    whole = reputation([*past, Appeal(DAY, 1.0), Observation(2 * DAY, accepted=False)], 2 * DAY, 1e9)
    assert (whole.accepted, whole.rejected) == (pytest.approx(1), pytest.approx(1))


def test_a_clock_that_goes_backwards_makes_no_evidence_heavier() -> None:
    events = [Observation(10 * DAY, accepted=False), Observation(5 * DAY, accepted=True)]
    assert [round(one.rejected, 6) for _, one in trace(events, 30.0)] == [0.0, 1.0]
    assert reputation(events, 0, 30.0).rejected == 1.0


def test_a_half_life_that_is_none_is_refused() -> None:
    for days in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="half-life"):
            reputation([Observation(0, accepted=True)], 0, days)
