"""When drops put a device into quarantine: at once, and where false alarms are expected."""

import json

import numpy as np
import pytest

from skerry.security.anomaly.strikes import QUARANTINE_EVIDENCE, SUSTAINED, Strikes


def test_without_a_rate_the_third_drop_is_enough_however_far_apart() -> None:
    strikes = Strikes(3, None)
    assert not strikes.strike("a")
    for _ in range(500):
        strikes.spare("a")
    assert strikes.cleared("a")
    assert not strikes.strike("a")
    assert strikes.strike("a")
    assert strikes.count("a") == 3
    assert strikes.count("b") == 0


def test_false_alarms_at_the_stated_rate_quarantine_hardly_anybody() -> None:
    """2,000 honest devices of 100 rounds, dropped with probability 0.05 each time: the bound is 2 %."""
    rng = np.random.default_rng(0)
    out = 0
    for _ in range(2000):
        strikes = Strikes(3, 0.05)
        for dropped in rng.random(100) < 0.05:
            if dropped and strikes.strike("a"):
                out += 1
                break
            if not dropped:
                strikes.spare("a")
    assert 0 < out / 2000 <= 100 / QUARANTINE_EVIDENCE


def test_a_device_that_is_dropped_most_of_the_time_is_out_soon() -> None:
    strikes = Strikes(3, 0.01)
    assert [strikes.strike("a") for _ in range(3)] == [False, False, True]
    strikes = Strikes(3, 0.01)
    found = None
    for number in range(20):
        if number % 2:
            strikes.spare("a")
        elif strikes.strike("a"):
            found = number
            break
    assert found is not None
    assert found <= 6


def test_a_device_is_cleared_when_its_drops_are_explained() -> None:
    strikes = Strikes(3, 0.05)
    strikes.strike("a")
    cleared = []
    for _ in range(5):
        strikes.spare("a")
        cleared.append(strikes.cleared("a"))
    assert cleared == [False, False, False, True, True]
    assert strikes.cleared("never dropped")


@pytest.mark.parametrize("rate", [None, 0.01])
def test_near_drops_count_where_they_are_sustained(rate: float | None) -> None:
    strikes = Strikes(3, rate)
    found = [strikes.strike("a", near=True) for _ in range(SUSTAINED + 2)]
    assert found == [False] * (SUSTAINED + 1) + [True]
    strikes = Strikes(3, rate)
    for _ in range(50):
        for _ in range(SUSTAINED - 1):
            assert not strikes.strike("a", near=True)
        for _ in range(SUSTAINED - 1):
            assert not strikes.cleared("a")
            strikes.spare("a")
        assert strikes.cleared("a")
    assert strikes.count("a") == 0


def test_only_breaches_of_public_constants_prove_anything() -> None:
    strikes = Strikes(2, None)
    strikes.strike("a", certain=True)
    strikes.strike("a")
    assert not strikes.proven("a")
    strikes.strike("a", certain=True)
    assert strikes.proven("a")
    assert not strikes.proven("b")


def test_breaches_are_no_false_alarms_however_far_apart() -> None:
    strikes = Strikes(3, 0.05)
    found = []
    for _ in range(3):
        found.append(strikes.strike("a", certain=True))
        for _ in range(50):
            strikes.spare("a")
    assert found == [False, False, True]


def test_faults_are_no_false_alarms_either_and_prove_no_breach() -> None:
    strikes = Strikes(3, 0.05)
    found = []
    for kind in ({"fault": True}, {"certain": True}, {"fault": True}):
        found.append(strikes.strike("a", **kind))
        for _ in range(50):
            strikes.spare("a")
    assert found == [False, False, True]
    assert not strikes.proven("a")


def test_a_restored_count_goes_on() -> None:
    first, second = Strikes(3, 0.01), Strikes(3, 0.01)
    for _ in range(2):
        first.strike("a", fault=True)
    first.spare("a")
    second.restore(json.loads(json.dumps(first.state())))
    for _ in range(3):
        assert second.strike("a", certain=True) == first.strike("a", certain=True)
    assert second.state() == first.state()
    assert second.proven("a")
