"""The root-set detector: what no mixture of classes explains, under label skew, under noise, and without a root set."""

from collections.abc import Callable

import numpy as np
import pytest

from skerry.records import Reason
from skerry.security.anomaly import Finding, RootSetDetector, ScreenContext
from skerry.security.anomaly.evidence import Rows
from skerry.server.registry import beyond

N, K, D = 11, 5, 2000
NAMES = [f"device-{i:02d}" for i in range(N)]
INF = float("inf")


def root(seed: int = 0) -> np.ndarray:
    """Class updates that share a direction and conflict, as gradients of a softmax do."""
    rng = np.random.default_rng(seed)
    own = rng.standard_normal((K, D))
    return (own - 0.5 * own.mean(axis=0)).astype(np.float32)


def honest(seed: int = 1, alpha: float = 0.3, rest: float = 0.2) -> np.ndarray:
    """Mixtures under label skew, and a share of each device's own that no class explains."""
    rng = np.random.default_rng(seed)
    mixtures = rng.dirichlet([alpha] * K, N) @ root()
    own = rng.standard_normal((N, D)) * rest * np.linalg.norm(mixtures, axis=1, keepdims=True) / np.sqrt(D)
    return (mixtures + own).astype(np.float32)


def examine(rows: np.ndarray, noise: float = 0.0, trusted: np.ndarray | None = None) -> list[Finding]:
    context = ScreenContext(1, noise, INF, root=root())
    usable = np.ones(len(rows), bool) if trusted is None else trusted
    return RootSetDetector().examine(Rows(rows.astype(np.float32)), NAMES[: len(rows)], usable, context)


def flagged(found: list[Finding]) -> list[int]:
    return [i for i, finding in enumerate(found) if finding.flagged]


@pytest.mark.parametrize("alpha", [0.05, 0.3, 100.0])
def test_label_skew_accuses_nobody(alpha: float) -> None:
    for seed in range(20):
        assert flagged(examine(honest(seed, alpha))) == []


def test_devices_that_the_root_set_explains_nearly_whole_are_not_told_apart() -> None:
    """Shares far below a twentieth of the squared length differ by many times, and mean nothing."""
    rows = honest(rest=0.001)
    rows[3] = honest(rest=0.1)[3]
    assert flagged(examine(rows)) == []


def test_reversed_random_and_foreign_directions_are_outside_the_cone() -> None:
    rows = honest()
    rng = np.random.default_rng(3)
    rows[1] *= -1
    rows[4] = rng.standard_normal(D) * np.linalg.norm(rows[4]) / np.sqrt(D)
    found = examine(rows)
    assert flagged(found) == [1, 4]
    assert "; of its reverse they explain 9" in found[1].scores[0].sentence
    assert found[4].scores[0].sentence.startswith("No mixture of the server's classes explains 100% of it;")
    assert RootSetDetector.reason is Reason.ROOT_SET
    assert not any(finding.certain for finding in found), "a root set is a comparison, not a public constant"


def test_where_the_root_set_explains_little_nobody_is_accused() -> None:
    """Public examples unlike the devices': that some resemble them by chance is no fault of the others."""
    for seed in range(20):
        rows = honest(seed, rest=1.0)
        rows[:3] += 4 * root()[:3]
        rows[3] = np.random.default_rng(100 + seed).standard_normal(D) * np.linalg.norm(rows[3]) / np.sqrt(D)
        found = examine(rows)
        assert found[0].scores[0].value < 0.25
        assert found[3].scores[0].value > 0.95
        assert found[3].scores[0].high is None
        assert flagged(found) == []


def test_devices_with_classes_that_the_root_set_lacks_are_not_accused_where_they_are_many() -> None:
    """Seven of eleven hold what no public example shows: the root set explains the others and says nothing of these."""
    others = np.random.default_rng(8).standard_normal((7, D)).astype(np.float32)
    rows = honest()
    rows[4:] = 0.3 * rows[4:] + others
    found = examine(rows)
    assert found[0].scores[0].value < 0.1
    assert min(finding.scores[0].value for finding in found[4:]) > 0.7
    assert flagged(found) == []


def test_a_large_rest_that_few_examples_explain_is_held_against_nobody() -> None:
    """However well the others are explained: what is explained points the way of its classes."""
    rows = honest(rest=0.05)
    for share in (0.25, 0.4, 0.8):
        rest = np.random.default_rng(2).standard_normal(D)
        own = honest(rest=0.0)[3]
        rows[3] = own + np.sqrt(share / (1 - share)) * np.linalg.norm(own) * rest / np.linalg.norm(rest)
        found = examine(rows)
        assert found[3].scores[0].value == pytest.approx(share, abs=0.02)
        assert found[3].scores[0].sentence.endswith("as updates of few examples do.") is (share > 0.3)
        assert [beyond(finding.scores[0]) for finding in found] == [False] * N
        assert flagged(found) == []


@pytest.mark.parametrize(("away", "expected"), [(0.9, []), (2.0, [3])])
def test_a_rest_whose_reverse_is_explained_better_is_held_against_an_update(away: float, expected: list[int]) -> None:
    """One class forwards and ``away`` of another backwards, as after training on wrong labels."""
    rows = honest(rest=0.05)
    own = root() / np.linalg.norm(root(), axis=1, keepdims=True)
    rows[3] = own[0] - away * own[1]
    found = examine(rows)
    assert flagged(found) == expected
    assert [beyond(finding.scores[0]) for finding in found] == [finding.flagged for finding in found]


def mislabelled() -> np.ndarray:
    """What each class teaches under each other label: its own direction, turned by a direction of the pair."""
    turned = np.random.default_rng(5).standard_normal((K, K - 1, D))
    return (turned - 0.5 * root()[:, None]).reshape(-1, D).astype(np.float32)


@pytest.mark.parametrize("share", [0.35, 0.6])
def test_a_rest_that_wrong_labels_explain_is_held_against_an_update_and_another_is_not(share: float) -> None:
    """As much of two updates is unexplained: wrong labels explain all of one rest, and half of the other."""
    rows = honest(rest=0.05)
    own = honest(rest=0.0)
    wrong, other = mislabelled()[[1, 6, 9]].sum(axis=0), np.random.default_rng(2).standard_normal(D)
    half = 0.7 * wrong / np.linalg.norm(wrong) + 0.7 * other / np.linalg.norm(other)
    for device, rest in ((2, wrong), (3, half)):
        left = np.linalg.norm(own[device]) * np.sqrt(share / (1 - share))
        rows[device] = own[device] + left * rest / np.linalg.norm(rest)
    asked: list[int] = []

    def told() -> np.ndarray:
        asked.append(1)
        return mislabelled()

    def judged(rows: np.ndarray, mislabelled: Callable[[], np.ndarray] | None) -> list[Finding]:
        context = ScreenContext(1, 0.0, INF, root=root(), mislabelled=mislabelled)
        return RootSetDetector().examine(Rows(rows.astype(np.float32)), NAMES, np.ones(N, bool), context)

    found = judged(rows, told)
    assert flagged(found) == [2]
    assert found[2].grave
    assert ", and wrong labels explain 100% of that;" in found[2].scores[0].sentence
    assert [beyond(finding.scores[0]) for finding in found] == [finding.flagged for finding in found]
    assert len(asked) == 1
    assert flagged(judged(rows, None)) == []
    assert flagged(judged(honest(), told)) == []
    assert len(asked) == 1, "without such a rest the server computes nothing more"
    broken = np.full((K * K - K, D), np.nan, np.float32)
    assert flagged(judged(rows, lambda: broken)) == []


def test_where_wrong_labels_could_explain_anything_they_explain_nothing() -> None:
    """25 updates in 26 dimensions come near many directions."""
    rng = np.random.default_rng(0)
    right, wrong = rng.standard_normal((K, 26)), rng.standard_normal((K * K - K, 26))
    for _ in range(20):
        rows = rng.dirichlet([0.3] * K, N) @ right
        rows[3] += rng.standard_normal(26)
        context = ScreenContext(
            1, 0.0, INF, root=right.astype(np.float32), mislabelled=lambda: wrong.astype(np.float32)
        )
        found = RootSetDetector().examine(Rows(rows.astype(np.float32)), NAMES, np.ones(N, bool), context)
        assert not any("wrong labels" in finding.scores[0].sentence for finding in found)


@pytest.mark.parametrize(("rest", "times", "expected"), [(0.2, 4.0, []), (0.2, 10.0, [3]), (1.0, 10.0, [])])
def test_a_mixture_that_is_too_much_of_it_is_flagged_where_the_root_set_fits(
    rest: float, times: float, expected: list[int]
) -> None:
    rows = honest(alpha=100.0, rest=rest)
    rows[3] *= times
    found = examine(rows)
    assert flagged(found) == expected
    if expected:
        assert found[3].scores[0].value == pytest.approx(times, rel=0.2)
        assert beyond(found[3].scores[0])


def test_neither_the_root_sets_scale_nor_the_rows_matters() -> None:
    rows = honest()
    rows[1] *= -1
    expected = [finding.scores[0].value for finding in examine(rows)]
    context = ScreenContext(1, 0.0, INF, root=1e-3 * root())
    found = RootSetDetector().examine(Rows((1e4 * rows).astype(np.float32)), NAMES, np.ones(N, bool), context)
    np.testing.assert_allclose([finding.scores[0].value for finding in found], expected, rtol=1e-3, atol=1e-6)


def test_hostile_rows_do_not_widen_what_is_usual() -> None:
    """Four of eleven, all outside by different amounts: a measured spread would let the nearest pass."""
    rows = honest()
    rows[:4] = np.array([[0.0], [1.0], [2.0], [8.0]], np.float32) * root(seed=9)[:4] - rows[:4]
    assert flagged(examine(rows)) == [0, 1, 2, 3]


@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_honest_noise_is_never_called_unexplained(noise: float) -> None:
    for seed in range(20):
        rows = honest(seed, rest=0.0) + noise * np.random.default_rng(seed).standard_normal((N, D))
        found = examine(rows, noise)
        assert all(finding.scores[0].value == 0.0 for finding in found)


def test_what_stands_out_of_the_noise_is_seen_and_what_hides_in_it_is_not() -> None:
    noise = 0.3
    rows = honest(rest=0.0) + noise * np.random.default_rng(0).standard_normal((N, D))
    rows[2] += 10 * noise * np.random.default_rng(1).standard_normal(D)
    rows[5] += 0.1 * noise * np.random.default_rng(2).standard_normal(D)
    assert flagged(examine(rows, noise)) == [2]


def test_without_a_root_set_or_with_few_rows_nobody_is_judged() -> None:
    detector, everybody = RootSetDetector(), np.ones(N, bool)
    (found, *_) = detector.examine(Rows(honest()), NAMES, everybody, ScreenContext(1, 0.0, INF))
    assert (found.flagged, found.strangeness) == (False, None)
    assert found.scores[0].sentence == "Not compared with a root set: the server has no updates of its own."
    few = examine(-honest()[:3])
    assert flagged(few) == []
    assert few[0].scores[0].sentence.endswith("3 usable updates are too few to say what is usual.")
    blank = ScreenContext(1, 0.0, INF, root=np.zeros((K, D), np.float32))
    assert flagged(detector.examine(Rows(honest()), NAMES, everybody, blank)) == []


def test_zero_rows_and_classes_with_one_direction_are_survived() -> None:
    rows = honest()
    rows[6] = 0
    found = examine(rows)
    assert flagged(found) == []
    assert found[6].scores[0].value == 0.0
    twice = ScreenContext(1, 0.0, INF, root=np.repeat(root(), 2, axis=0))
    again = RootSetDetector().examine(Rows(rows), NAMES, np.ones(N, bool), twice)
    np.testing.assert_allclose(
        [f.scores[0].value for f in again], [f.scores[0].value for f in found], rtol=1e-4, atol=1e-5
    )


def test_a_row_whose_mixture_is_not_found_is_not_judged_and_the_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The solver gives up after 3 k steps. No input is known on which it does, so one answer of it is replaced."""
    import scipy.optimize

    solved = scipy.optimize.nnls
    calls = iter(range(2 * N))  # each row and its reverse

    def gives_up(*given: np.ndarray) -> tuple[np.ndarray, float]:
        if next(calls) == 4:
            raise RuntimeError("Maximum number of iterations reached.")
        return solved(*given)

    rows = honest()
    rows[[1, 2]] *= -1
    expected = examine(rows, trusted=np.arange(N) != 2)
    monkeypatch.setattr(scipy.optimize, "nnls", gives_up)
    found = examine(rows)
    assert flagged(found) == [1]
    assert found[2].strangeness is None
    assert found[2].scores[0].sentence == "Not compared with a root set: its nearest mixture was not found."
    assert [f for i, f in enumerate(found) if i != 2] == [f for i, f in enumerate(expected) if i != 2]


def test_a_root_set_that_is_not_finite_judges_nobody() -> None:
    """As after a model that diverged."""
    broken = root()
    broken[1, 5] = np.nan
    context = ScreenContext(1, 0.0, INF, root=broken)
    (found, *_) = RootSetDetector().examine(Rows(honest()), NAMES, np.ones(N, bool), context)
    assert (found.flagged, found.strangeness) == (False, None)


def test_untrusted_rows_do_not_say_what_is_usual() -> None:
    rows = honest()
    rows[:6] = 2 * root(seed=9)[:1] - rows[:6]
    assert flagged(examine(rows)) != list(range(6)), "a majority would make itself usual"
    assert flagged(examine(rows, trusted=np.arange(N) >= 6)) == list(range(6))
