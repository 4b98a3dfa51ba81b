"""The spectral and the clustering detector: minorities that agree with each other against the rest."""

import numpy as np
import pytest

from skerry.security.anomaly import ClusteringDetector, Finding, ScreenContext, SpectralDetector
from skerry.security.anomaly.evidence import Detector, Rows

N, D = 15, 3000
NAMES = [f"device-{i:02d}" for i in range(N)]
EVERYBODY = np.ones(N, bool)
BOTH = pytest.mark.parametrize("make", [SpectralDetector, ClusteringDetector])


def honest(seed: int = 0, agreement: float = 0.5) -> np.ndarray:
    """Rows of length about 1: a common direction and each device's own."""
    rng = np.random.default_rng(seed)
    common, own = rng.standard_normal(D), rng.standard_normal((N, D))
    return ((agreement * common + np.sqrt(1 - agreement**2) * own) / np.sqrt(D)).astype(np.float32)


def examine(
    make: type[Detector], rows: np.ndarray, noise: float = 0.0, trusted: np.ndarray = EVERYBODY
) -> list[Finding]:
    context = ScreenContext(1, noise, float("inf"))
    return make().examine(Rows(rows.astype(np.float32)), NAMES[: len(rows)], trusted[: len(rows)], context)


def flagged(found: list[Finding]) -> list[int]:
    return [i for i, finding in enumerate(found) if finding.flagged]


@BOTH
@pytest.mark.parametrize("agreement", [0.0, 0.5, 0.95])
def test_honest_devices_are_not_flagged_however_much_they_agree(make: type[Detector], agreement: float) -> None:
    for seed in range(20):
        assert flagged(examine(make, honest(seed, agreement))) == []


@BOTH
def test_a_minority_that_points_elsewhere_together_is_flagged(make: type[Detector]) -> None:
    rows = honest(agreement=0.9)
    rows[[2, 5, 9]] = 2.0 * honest(seed=77, agreement=0.9)[:3]
    found = examine(make, rows)
    assert flagged(found) == [2, 5, 9]
    assert not any(finding.certain for finding in found)
    assert all(finding.distance == finding.strangeness for finding in found if finding.flagged)
    sentence = found[2].scores[0].sentence
    assert "the others are around" in sentence or sentence.startswith("One of 3 updates that point elsewhere")


@BOTH
def test_the_order_and_the_scale_of_the_rows_do_not_matter(make: type[Detector]) -> None:
    rows = honest(agreement=0.9)
    rows[[2, 5, 9]] = 2.0 * honest(seed=77, agreement=0.9)[:3]
    order = np.random.default_rng(1).permutation(N)
    found = examine(make, 1e-3 * rows[order])
    assert sorted(order[flagged(found)].tolist()) == [2, 5, 9]


@BOTH
def test_under_noise_nothing_but_noise_is_flagged(make: type[Detector]) -> None:
    for seed in range(20):
        noise = np.random.default_rng(seed).standard_normal((N, D)).astype(np.float32)
        assert flagged(examine(make, honest(seed) + noise, noise=1.0)) == []


def test_a_direction_no_stronger_than_noise_is_not_looked_at() -> None:
    rows = np.random.default_rng(0).standard_normal((N, D))
    assert examine(SpectralDetector, rows, noise=1.0)[0].scores[0].sentence.endswith("no direction stands out.")
    rows[[2, 5]] += 60 * honest(seed=77, agreement=1.0)[0]
    assert flagged(examine(SpectralDetector, rows, noise=1.0)) == [2, 5]


def test_positions_are_those_of_the_singular_vectors() -> None:
    rows = honest() * np.linspace(0.5, 2, N)[:, None].astype(np.float32)
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    direction = np.linalg.svd(centred, full_matrices=False)[2][0]
    expected = np.abs(centred @ direction) / np.median(np.linalg.norm(rows, axis=1))
    found = [abs(finding.scores[0].value) for finding in examine(SpectralDetector, rows)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_untrusted_rows_turn_no_direction_and_make_no_group() -> None:
    rows = honest(agreement=0.9)
    rows[:4] = 100 * honest(seed=78, agreement=0.9)[:4]
    rows[[5, 9]] = 3.0 * honest(seed=77, agreement=0.9)[:2]
    trusted = np.arange(N) >= 4
    assert {5, 9} <= set(flagged(examine(SpectralDetector, rows, trusted=trusted)))
    assert {5, 9} <= set(flagged(examine(ClusteringDetector, rows, trusted=trusted)))


def test_two_halves_accuse_nobody() -> None:
    rows = honest(agreement=0.9)[:14]
    rows[:7] = honest(seed=77, agreement=0.9)[:7]
    found = examine(ClusteringDetector, rows)
    assert flagged(found) == []
    assert found[0].scores[0].sentence == "Not judged by its group: two groups of one size."


@BOTH
def test_few_and_zero_rows_are_survived(make: type[Detector]) -> None:
    assert flagged(examine(make, honest()[:3])) == []
    assert flagged(examine(make, np.zeros((N, D)))) == []
    rows = honest(agreement=0.9)
    rows[3] = 0
    assert len(examine(make, rows)) == N
