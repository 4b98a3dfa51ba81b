"""The cosine detector: who points against the others, with and without noise."""

import numpy as np
import pytest

from skerry.errors import ScenarioError
from skerry.records import Reason
from skerry.security.anomaly import CosineDetector, Finding, ScreenContext, detectors_for
from skerry.security.anomaly.evidence import Rows

D = 2570
NAMES = [f"device-{i:02d}" for i in range(40)]


def examine(rows: np.ndarray, noise: float, trusted: np.ndarray | None = None) -> list[Finding]:
    usable = np.ones(len(rows), bool) if trusted is None else trusted
    context = ScreenContext(1, noise, float("inf"))
    return CosineDetector().examine(Rows(rows.astype(np.float32)), NAMES[: len(rows)], usable, context)


def flagged(found: list[Finding]) -> list[int]:
    return [i for i, finding in enumerate(found) if finding.flagged]


def common(norm: float, seed: int = 0) -> np.ndarray:
    direction = np.random.default_rng(seed).standard_normal(D)
    return direction * norm / np.linalg.norm(direction)


def test_names_of_a_scenario_give_detectors_in_a_fixed_order() -> None:
    assert [d.name for d in detectors_for(["cosine", "fresh", "norm", "finite", "shape"])] == ["norm", "cosine"]
    assert detectors_for([]) == ()
    with pytest.raises(ScenarioError) as caught:
        detectors_for(["cosin"])
    assert caught.value.mend == "did you mean 'cosine'?"
    with pytest.raises(ScenarioError, match="unknown check"):
        detectors_for(["xyzzy"])


def test_pure_noise_aligns_as_the_normal_distribution_says() -> None:
    """z = cosine·‖x‖/ν is N(0, 1) for an honest device without signal: 3,300 draws, three tail levels."""
    rng = np.random.default_rng(0)
    z = []
    for _ in range(300):
        rows = rng.normal(0, 3.0, (11, 80)).astype(np.float32)
        found = CosineDetector().examine(Rows(rows), NAMES[:11], np.ones(11, bool), ScreenContext(1, 3.0, float("inf")))
        lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
        z += [f.scores[0].value * length / 3.0 for f, length in zip(found, lengths, strict=True)]
        assert flagged(found) == []
    values = np.array(z)
    assert abs(values.mean()) < 0.07
    assert abs(values.std() - 1) < 0.05
    for quantile, share in ((-1.645, 0.05), (-2.326, 0.01), (-3.09, 0.001)):
        allowed = 4 * np.sqrt(share / len(values))  # four standard deviations of a binomial share
        assert abs((values < quantile).mean() - share) < allowed


def test_the_limit_of_one_round_lies_where_noise_reaches_once_in_a_million() -> None:
    rows = common(10.0) + np.random.default_rng(1).standard_normal((11, D))
    found = examine(rows, 1.0)
    for finding, length in zip(found, np.linalg.norm(rows, axis=1), strict=True):
        low = finding.scores[0].low
        assert low is not None
        assert low <= -4.753 / length + 1e-6


def test_a_flipped_update_is_flagged_in_one_round_when_the_common_signal_is_strong() -> None:
    rows = common(25.0) + np.random.default_rng(2).standard_normal((11, D))
    rows[6] *= -1
    found = examine(rows, 1.0)
    assert flagged(found) == [6]
    assert found[6].scores[0].sentence.startswith("Points against the others: cosine -0.")
    assert not found[6].certain


def test_evidence_over_rounds_is_reported_and_flags_in_the_end() -> None:
    rng = np.random.default_rng(3)
    detector, signal, found = CosineDetector(), common(8.0), []
    everybody = np.ones(11, bool)
    for number in range(1, 16):
        rows = (signal + rng.standard_normal((11, D))).astype(np.float32)
        rows[6] *= -1
        found = detector.examine(Rows(rows), NAMES[:11], everybody, ScreenContext(number, 1.0, float("inf")))
        detector.learn(rows, everybody, ScreenContext(number, 1.0, float("inf")))
        assert [i for i in flagged(found) if i != 6] == []
    assert flagged(found) == [6]
    assert [score.detector for score in found[6].scores] == ["cosine", "cosine_history"]
    assert "Has kept pointing against the others" in found[6].scores[1].sentence
    assert "Evidence over the rounds: 10^" in found[0].scores[1].sentence
    again = CosineDetector()
    again.restore(detector.state())
    assert again.state() == detector.state()


@pytest.mark.parametrize("seed", range(10))
def test_without_noise_heterogeneous_honest_updates_are_not_flagged(seed: int) -> None:
    """Label skew: each device shares only part of its direction with the others; cosines from about 0 to 0.7."""
    rng = np.random.default_rng(seed)
    shared = rng.uniform(0.0, 1.0, (11, 1))
    rows = shared * common(1.0, seed) + rng.standard_normal((11, D)) / np.sqrt(D)
    assert flagged(examine(rows, 0.0)) == []


def test_without_noise_a_spread_of_directions_is_not_an_accusation() -> None:
    rng = np.random.default_rng(4)
    rows = np.linspace(-0.6, 1.0, 11)[:, None] * common(1.0) + rng.standard_normal((11, D)) / np.sqrt(D)
    found = examine(rows, 0.0)
    assert min(finding.scores[0].value for finding in found) < -0.1
    assert flagged(found) == []


@pytest.mark.parametrize("hostile", [1, 2])
def test_without_noise_flipped_updates_among_similar_ones_are_flagged(hostile: int) -> None:
    rows = common(1.0) + np.random.default_rng(5).standard_normal((11, D)) / np.sqrt(D)
    rows[:hostile] *= -1
    assert flagged(examine(rows, 0.0)) == list(range(hostile))


@pytest.mark.parametrize(("along", "expected"), [(-0.25, []), (-0.9, [4])])
def test_without_noise_a_direction_of_noise_is_not_an_accusation_a_reversed_one_is(
    along: float, expected: list[int]
) -> None:
    """Among devices alike, an update of a few examples is noise of either sign on a little of what the others say."""
    rng = np.random.default_rng(5)
    rows = 2 * common(1.0) + rng.standard_normal((11, D)) / np.sqrt(D)
    rows[4] = along * common(1.0) + np.sqrt(1 - along**2) * rng.standard_normal(D) / np.sqrt(D)
    found = examine(rows, 0.0)
    assert found[4].scores[0].value < -0.15
    assert flagged(found) == expected


def test_without_noise_nothing_is_remembered() -> None:
    detector = CosineDetector()
    rows = np.ones((5, 4), np.float32)
    detector.learn(rows, np.ones(5, bool), ScreenContext(1, 0.0, float("inf")))
    assert detector.state()["course"] is None


def test_too_few_updates_are_not_judged() -> None:
    found = examine(np.random.default_rng(6).standard_normal((3, 10)), 1.0)
    assert flagged(found) == []
    assert "too few" in found[0].scores[0].sentence


def test_zero_updates_have_no_direction() -> None:
    rows = np.zeros((6, 10))
    for noise in (0.0, 1.0):
        found = examine(rows, noise)
        assert flagged(found) == []
        assert found[0].scores[0].value == 0.0


def test_rows_that_are_not_trusted_do_not_say_what_is_usual() -> None:
    rows = common(1.0) + np.random.default_rng(7).standard_normal((11, D)) / np.sqrt(D)
    rows[:6] = -100 * common(1.0)
    found = examine(rows, 0.0, trusted=np.arange(11) >= 6)
    assert flagged(found) == list(range(6))


def test_the_reason_code_is_cosine() -> None:
    assert CosineDetector().reason is Reason.COSINE
