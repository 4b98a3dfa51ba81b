"""The foreign detector: random directions are told from training, whatever its data, and noise makes it mute."""

import numpy as np
import pytest

from skerry.records import Reason
from skerry.security.anomaly import Finding, ForeignDetector, ScreenContext
from skerry.security.anomaly.evidence import Rows

N, K, D = 12, 6, 3000
INF = float("inf")


def honest(seed: int, rest: float = 0.5) -> np.ndarray:
    """Mixtures of a few directions under skew, and a rest of each device's own, over its mixture's length."""
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet([0.3] * K, N) @ np.random.default_rng(1).standard_normal((K, D))
    own = rng.standard_normal((N, D))
    own *= rest * np.linalg.norm(rows, axis=1, keepdims=True) / np.linalg.norm(own, axis=1, keepdims=True)
    return (rows + own).astype(np.float32)


def examine(
    rows: np.ndarray, noise: float = 0.0, trusted: np.ndarray | None = None, *, whole: bool = True
) -> list[Finding]:
    usable = np.ones(len(rows), bool) if trusted is None else trusted
    context = ScreenContext(1, noise, INF, whole=whole)
    return ForeignDetector().examine(Rows(rows.astype(np.float32)), [str(i) for i in range(len(rows))], usable, context)


def flagged(found: list[Finding]) -> list[int]:
    return [i for i, finding in enumerate(found) if finding.flagged]


def random_direction(length: float, seed: int) -> np.ndarray:
    own = np.random.default_rng(seed).standard_normal(D)
    return length * own / np.linalg.norm(own)


@pytest.mark.parametrize("length", [0.01, 1.0, 100.0])
def test_random_directions_of_any_length_are_flagged_and_count_towards_quarantine(length: float) -> None:
    for seed in range(10):
        rows = honest(seed)
        for device in (2, 7):
            rows[device] = random_direction(length * float(np.linalg.norm(rows[device])), 100 * seed + device)
        found = examine(rows)
        assert flagged(found) == [2, 7]
        assert found[2].grave
        assert not found[2].certain
    assert "of it lies in directions of other updates" in found[2].scores[0].sentence
    assert ForeignDetector.reason is Reason.FOREIGN


@pytest.mark.parametrize("rest", [0.0, 0.5, 1.0])
def test_training_of_any_mixture_is_not(rest: float) -> None:
    for seed in range(20):
        assert flagged(examine(honest(seed, rest))) == []


def test_few_examples_are_not_foreign() -> None:
    """A tenth of the update is what others have too, the rest is its own."""
    rows = honest(0)
    rows[4] += random_direction(3 * float(np.linalg.norm(rows[4])), 5)
    found = examine(rows)
    assert flagged(found) == []
    assert found[4].scores[0].value == pytest.approx(0.1, abs=0.05)


def test_where_updates_have_little_in_common_nobody_is_foreign() -> None:
    rows = honest(0, rest=3.0)
    rows[4] = random_direction(1.0, 5)
    found = examine(rows)
    assert flagged(found) == []
    assert found[4].scores[0].low is None
    assert found[4].scores[0].sentence.endswith("too little to judge by.")


def test_noise_zero_rows_and_small_cohorts_are_not_judged() -> None:
    rows = honest(0)
    rows[4] = random_direction(1.0, 5)
    assert flagged(examine(rows, noise=0.1)) == []
    assert flagged(examine(rows[2:5])) == []
    rows[3] = 0
    found = examine(rows)
    assert flagged(found) == [4]
    assert found[3].scores[0].sentence.endswith("it is zero.")


def test_where_a_head_is_trained_nobody_is_foreign() -> None:
    rows = honest(0)
    rows[4] = random_direction(1.0, 5)
    found = examine(rows, whole=False)
    assert flagged(found) == []
    assert found[4].scores[0].sentence.endswith("an honest device may be alone with a class.")


def test_who_has_little_in_common_with_others_and_more_than_noise_is_not_foreign() -> None:
    """Three parts in a hundred: less than a twentieth of what is usual, and twice what noise has."""
    rows = honest(0, rest=0.0)
    own, common = random_direction(1.0, 5), rows[1] / np.linalg.norm(rows[1])
    rows[4] = np.sqrt(0.97) * own + np.sqrt(0.03) * common
    found = examine(rows)
    assert flagged(found) == []
    assert found[4].scores[0].value < 0.05


def test_rows_that_are_not_trusted_make_no_span_for_their_like() -> None:
    rows = honest(0)
    rows[4] = random_direction(1.0, 5)
    rows[5] = rows[4] + random_direction(0.1, 6)
    assert flagged(examine(rows)) == [], "each is in the other's span: that is for the detector of copies"
    assert flagged(examine(rows, trusted=~np.isin(np.arange(N), [4, 5]))) == [4, 5]
