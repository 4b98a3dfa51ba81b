"""Learned limits: what they promise under exchangeability, what poisoning does to them, and that they resume."""

import json

import numpy as np
import pytest

from skerry.errors import InputError
from skerry.security.anomaly.calibration import Calibration
from skerry.security.anomaly.evidence import FAR


def within(draws: np.ndarray) -> np.ndarray:
    """Draws in their order, between 1.5 and 4.5: where limits are learned."""
    return 3 + 3 / np.pi * np.arctan(draws)


def calibrated(scores: np.ndarray, rate: float = 0.05) -> Calibration:
    found = Calibration(rate, ["norm"])
    found.learn("norm", scores.tolist())
    return found


@pytest.mark.parametrize("rate", [0.05, 0.2])
@pytest.mark.parametrize("draw", ["standard_normal", "standard_cauchy", "standard_exponential"])
def test_honest_scores_are_flagged_at_the_rate_whatever_their_distribution(draw: str, rate: float) -> None:
    """Marginally, over past and new scores: 400 pasts of 59, 50 new ones each; p-values have steps of 1/60."""
    rng = np.random.default_rng(0)
    flagged = 0
    for _ in range(400):
        scores = within(getattr(rng, draw)(59 + 50))
        flagged += int((scores[59:] > calibrated(scores[:59], rate).limit("norm")).sum())
    assert flagged / 20_000 == pytest.approx(rate, rel=0.15)


def test_the_limit_is_that_of_the_p_value() -> None:
    rng = np.random.default_rng(1)
    for count in range(1, 90):
        past = within(rng.standard_normal(count))
        limit = calibrated(past).limit("norm")
        for score in within(rng.standard_normal(20)):
            p = (1 + (past >= score).sum()) / (count + 1)
            assert limit == FAR or (score > limit) == (p <= 0.05), (count, score)
    assert calibrated(np.full(18, 4.0)).limit("norm") == FAR, "18 scores cannot give a p-value of 0.05"
    assert calibrated(np.full(19, 4.0)).limit("norm") == 4.0


def test_the_rate_is_that_of_all_detectors_together() -> None:
    calibration = Calibration(0.05, ["norm", "cosine"])
    calibration.learn("norm", [4.0] * 38)
    assert calibration.limit("norm") == FAR
    calibration.learn("norm", [4.0])
    assert calibration.limit("norm") == 4.0
    assert calibration.limit("cosine") == FAR


def test_nothing_near_the_others_is_ever_called_far() -> None:
    assert calibrated(np.full(100, -3.0)).limit("norm") == 1.0


@pytest.mark.parametrize("scale", [0.1, 2.0])
def test_no_limit_lies_above_the_fixed_one_and_heavy_tails_beyond_it_are_its_false_alarms(scale: float) -> None:
    """Cauchy scores, of which 0.6 % or 12 % lie beyond five; the rate is 5 %."""
    beyond = 0.5 - np.arctan(FAR / scale) / np.pi
    rng = np.random.default_rng(4)
    flagged = 0
    for _ in range(400):
        scores = scale * rng.standard_cauchy(59 + 50)
        limit = calibrated(scores[:59]).limit("norm")
        assert limit <= FAR
        flagged += int((scores[59:] > limit).sum())
    assert flagged / 20_000 <= 0.05 + beyond + 0.01
    assert flagged / 20_000 >= beyond - 0.01, "the rate says nothing about them"


def test_low_poison_raises_the_rate_no_further_than_stated_and_high_poison_blinds() -> None:
    rng = np.random.default_rng(2)
    low = high = 0
    for _ in range(300):
        honest = within(rng.standard_normal(80 + 50))
        low += int((honest[80:] > calibrated(np.append(honest[:80], np.full(19, -50.0))).limit("norm")).sum())
        high += int((honest[80:] > calibrated(np.append(honest[:80], np.full(19, 4.6))).limit("norm")).sum())
    assert 0.05 < low / 15_000 < 1.1 * 0.05 / (1 - 19 / 99)
    assert high == 0


def test_memory_is_bounded_and_the_newest_scores_stay() -> None:
    calibration = Calibration(0.1, ["norm"])
    for start in range(0, 1000, 10):
        calibration.learn("norm", [(start + i) / 1000 + 1 for i in range(10)])
    assert len(calibration.state()["norm"]) == 4 * -(-50 * 8 // 3)
    assert calibration.limit("norm") == 1.995


def test_a_restored_calibration_goes_on_bit_for_bit() -> None:
    rng = np.random.default_rng(3)
    first, second = calibrated(rng.standard_normal(200) * 3), Calibration(0.05, ["norm"])
    second.restore(json.loads(json.dumps(first.state())))
    more = rng.standard_normal(7).tolist()
    first.learn("norm", more)
    second.learn("norm", more)
    assert second.limit("norm") == first.limit("norm")
    assert second.state() == first.state()


@pytest.mark.parametrize("rate", [0.0, -0.1, 0.3, float("nan")])
def test_a_rate_out_of_range_is_refused(rate: float) -> None:
    with pytest.raises(InputError, match="false alarms"):
        Calibration(rate, ["norm"])
