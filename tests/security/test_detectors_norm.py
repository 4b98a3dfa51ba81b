"""The norm detector: calibrated and relative limits, each with what it must and must not flag."""

import numpy as np
import pytest

from skerry.records import Reason
from skerry.security.anomaly import Finding, NormDetector, ScreenContext
from skerry.security.anomaly.evidence import Rows

D = 2570


def examine(rows: np.ndarray, context: ScreenContext) -> list[Finding]:
    names = [f"device-{i:02d}" for i in range(len(rows))]
    return NormDetector().examine(Rows(rows.astype(np.float32)), names, np.ones(len(rows), bool), context)


def noisy(n: int, seed: int = 0, std: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, std, (n, D))


def test_the_detector_speaks_of_norms() -> None:
    detector = NormDetector()
    assert (detector.name, detector.reason) == ("norm", Reason.NORM)
    assert detector.state() == {}
    detector.restore({})


@pytest.mark.parametrize("factor", [1.5, 4.0, 1e6, 1e30])
def test_an_update_larger_than_its_noise_and_bound_allow_is_a_breach(factor: float) -> None:
    rows = noisy(11)
    rows[3] *= factor
    found = examine(rows, ScreenContext(1, 1.0, 41.0))
    assert [i for i, finding in enumerate(found) if finding.flagged] == [3]
    assert found[3].certain
    assert "most that an honest update can reach" in found[3].scores[0].sentence


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.85])
def test_an_update_without_its_privacy_noise_is_a_breach(factor: float) -> None:
    rows = noisy(11)
    rows[3] *= factor
    found = examine(rows, ScreenContext(1, 1.0, float("inf")))
    assert [i for i, finding in enumerate(found) if finding.certain] == [3]
    assert "noise was reduced or left out" in found[3].scores[0].sentence


def test_a_device_with_several_local_steps_may_have_pulled_its_first_noise_back() -> None:
    rows = noisy(11)
    rows[3] *= 0.6
    assert examine(rows, ScreenContext(1, 1.0, 41.0, steps=1))[3].certain
    assert not examine(rows, ScreenContext(1, 1.0, 41.0, steps=4))[3].flagged


@pytest.mark.parametrize("steps", [1, 4])
def test_honest_signals_up_to_the_public_bound_pass(steps: int) -> None:
    rng = np.random.default_rng(5)
    signal = rng.standard_normal((200, D))
    signal *= rng.uniform(0, 41, (200, 1)) / np.linalg.norm(signal, axis=1, keepdims=True)
    found = examine(signal + noisy(200), ScreenContext(1, 1.0, 41.0, steps=steps))
    assert not any(finding.flagged for finding in found)


def test_without_noise_the_public_bound_is_a_breach_line() -> None:
    rows = noisy(6)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[2] *= 1.01
    found = examine(rows, ScreenContext(1, 0.0, 1.0))
    assert [i for i, finding in enumerate(found) if finding.certain] == [2]
    assert found[0].scores[0].low is None
    zero = examine(rows, ScreenContext(1, 0.0, 0.0))
    assert all(finding.certain for finding in zero)
    assert "more than the most" in zero[0].scores[0].sentence


def test_without_public_limits_an_update_far_longer_than_the_others_is_flagged() -> None:
    rows = noisy(9)
    rows[4] *= 4
    found = examine(rows, ScreenContext(1, 0.0, float("inf")))
    assert [i for i, finding in enumerate(found) if finding.flagged] == [4]
    assert not found[4].certain
    assert found[4].distance > 5
    assert "times the other devices' median" in found[4].scores[0].sentence


@pytest.mark.parametrize("seed", range(20))
def test_heterogeneous_honest_norms_are_not_flagged(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = noisy(11, seed) * rng.uniform(0.6, 1.7, (11, 1))
    assert not any(finding.flagged for finding in examine(rows, ScreenContext(1, 0.0, float("inf"))))


def test_widely_spread_norms_widen_the_relative_limit() -> None:
    rows = noisy(11) * np.geomspace(0.01, 100, 11)[:, None]
    assert not any(finding.flagged for finding in examine(rows, ScreenContext(1, 0.0, float("inf"))))
    extreme = noisy(11) * np.geomspace(1e-38, 1e35, 11)[:, None]
    assert not any(finding.flagged for finding in examine(extreme, ScreenContext(1, 0.0, float("inf"))))


def test_zero_updates_and_tiny_cohorts_are_unremarkable_without_noise() -> None:
    rows = noisy(6)
    rows[:2] = 0
    assert not any(finding.flagged for finding in examine(rows, ScreenContext(1, 0.0, float("inf"))))
    assert not any(finding.flagged for finding in examine(noisy(2) * [[1], [100]], ScreenContext(1, 0.0, float("inf"))))


@pytest.mark.parametrize("factor", [0.05, 2.0, 3.0])
def test_a_device_up_to_three_times_longer_than_very_similar_others_is_not_flagged(factor: float) -> None:
    rows = noisy(11)
    rows[4] *= factor
    assert not any(finding.flagged for finding in examine(rows, ScreenContext(1, 0.0, float("inf"))))


def test_length_alone_only_clips_and_a_direction_of_its_own_drops() -> None:
    """Few examples lengthen an update; noise lengthens it in directions that no other has."""
    rng = np.random.default_rng(4)
    common = rng.standard_normal((5, D))
    rows = rng.uniform(0, 1, (11, 5)) @ common + 0.3 * rng.standard_normal((11, D))
    rows[3] *= 20
    rows[7] += 20 * rng.standard_normal(D)
    found = examine(rows, ScreenContext(1, 0.0, float("inf"), whole=True))
    assert [(i, finding.clips) for i, finding in enumerate(found) if finding.flagged] == [(3, True), (7, False)]
    assert found[7].scores[0].sentence.endswith("is usual.")
    under_noise = examine(rows, ScreenContext(1, 0.3, float("inf")))
    assert [(i, finding.clips) for i, finding in enumerate(under_noise) if finding.flagged] == [(3, False), (7, False)]
