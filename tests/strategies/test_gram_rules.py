"""What single rules in Gram space promise beyond their formulas."""

import numpy as np
import pytest

from skerry.errors import AggregationError
from skerry.strategies import (
    CAF,
    AdaptiveClipping,
    Bucketing,
    Bulyan,
    CentredClipping,
    Clipping,
    Composed,
    DnC,
    FLTrust,
    FoolsGold,
    GeometricMedian,
    Krum,
    Mean,
    MoNNA,
    MultiKrum,
    NormClippedMean,
)

N, D = 15, 60


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)


def centred_clipping(x: np.ndarray, v: np.ndarray, radius: float | None, times: int) -> np.ndarray:
    for _ in range(times):
        away = x - v
        lengths = np.linalg.norm(away, axis=1)
        limit = np.median(lengths) if radius is None else radius
        v = v + (away * np.minimum(1, limit / lengths)[:, None]).mean(axis=0)
    return v


@pytest.mark.parametrize("radius", [None, 3.0, 100.0])
@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize("start", [None, 0.3, 50.0])
def test_centred_clipping_starts_where_it_is_told_and_goes_as_often_as_it_is_told(
    rows: np.ndarray, radius: float | None, times: int, start: float | None
) -> None:
    begin = None if start is None else np.full(D, start, np.float32)
    expected = centred_clipping(rows.astype(np.float64), np.zeros(D) if begin is None else begin, radius, times)
    found = CentredClipping(2, radius, times, begin)(rows)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * (start or 1))
    again = CentredClipping(2, radius, times, begin)
    again(rows)
    np.testing.assert_array_equal(again(rows), found)  # nothing is kept from call to call


def test_bulyan_scores_anew_after_each_pick(rows: np.ndarray) -> None:
    """Picking the best of one scoring is another rule, and gives another result on these rows."""
    x = np.concatenate([rows[:8], rows[8:] + 0.9 * rows[8]]).astype(np.float32)
    f = 2
    wide = x.astype(np.float64)
    distances = ((wide[:, None] - wide[None]) ** 2).sum(axis=2)
    scores = np.sort(distances, axis=1)[:, 1 : N - f - 1].sum(axis=1)
    once = wide[np.sort(np.argsort(scores)[: N - 2 * f])]
    near = np.argsort(np.abs(once - np.median(once, axis=0)), axis=0)[: N - 4 * f]
    assert np.abs(np.take_along_axis(once, near, axis=0).mean(axis=0) - Bulyan(f)(x)).max() > 0.05


def test_dnc_finds_outliers_that_hide_behind_a_larger_one(rows: np.ndarray) -> None:
    hostile = rows.copy()
    hostile[0, 0], hostile[1, 1], hostile[2, 2] = 1e20, 1e10, 1e4
    expected = rows[3:].mean(axis=0)
    np.testing.assert_allclose(DnC(3)(hostile), expected, atol=1e-5)
    assert np.abs(DnC(3, turns=1)(hostile) - expected).max() > 100


def test_dnc_in_one_turn_is_the_papers_filter_in_all_coordinates(rows: np.ndarray) -> None:
    wide = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    scores = (wide @ np.linalg.svd(wide)[2][0]) ** 2
    np.testing.assert_allclose(DnC(4, turns=1)(rows), rows[np.argsort(scores)[: N - 4]].mean(axis=0), atol=1e-6)


def test_caf_gives_the_same_each_time_and_the_mean_when_nobody_is_hostile(rows: np.ndarray) -> None:
    np.testing.assert_array_equal(CAF(4)(rows), CAF(4)(rows))
    np.testing.assert_allclose(CAF(0)(rows), rows.mean(axis=0), atol=1e-6)


def test_a_huge_update_that_points_with_the_root_counts_no_more_than_the_root(rows: np.ndarray) -> None:
    root = rows.mean(axis=0)
    rows[3] = 1e20 * root
    found = FLTrust(root)(rows)
    assert np.linalg.norm(found) <= np.linalg.norm(root) * (1 + 1e-6)
    cosines = np.array([row @ root / np.linalg.norm(row) / np.linalg.norm(root) for row in rows.astype(np.float64)])
    trust = np.maximum(cosines, 0)
    units = rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    np.testing.assert_allclose(found, trust @ units * np.linalg.norm(root) / trust.sum(), rtol=1e-4, atol=1e-6)


def test_without_trust_the_model_stays(rows: np.ndarray) -> None:
    root = rows[0]
    assert not FLTrust(root)(np.stack([-root, np.zeros_like(root), -2 * root])).any()
    for bad in (np.zeros(D, np.float32), np.full(D, np.nan, np.float32), np.ones((2, D), np.float32)):
        with pytest.raises(AggregationError, match="root"):
            FLTrust(bad)


def test_foolsgold_sees_in_the_history_what_one_round_does_not_show(rows: np.ndarray) -> None:
    history = np.random.default_rng(1).standard_normal((N, D)).astype(np.float32)
    history[1] = history[0] * 3
    found = FoolsGold(history)(rows)
    weights = np.linalg.lstsq(rows.T.astype(np.float64), found.astype(np.float64), rcond=None)[0]
    np.testing.assert_allclose(weights[:2], 0, atol=1e-5)
    assert (weights[2:] > 0.01).all()
    with pytest.raises(AggregationError, match="history"):
        FoolsGold(history[1:])(rows)


@pytest.mark.parametrize("limit", [0.5, 3.0, None])
def test_a_clipped_mean_is_bounded_however_far_a_row_lies(rows: np.ndarray, limit: float | None) -> None:
    rows[4] = 1e30
    allowed = np.median(np.linalg.norm(rows.astype(np.float64), axis=1)) if limit is None else limit
    for rule in (NormClippedMean(limit), Composed((Clipping(limit),), Mean())):
        assert np.linalg.norm(rule(rows)) <= allowed


def test_geometric_median_of_half_of_the_rows_at_one_place_is_that_place(rows: np.ndarray) -> None:
    rows[: N // 2 + 1] = rows[0]
    np.testing.assert_array_equal(GeometricMedian()(rows), rows[0])


def test_krum_returns_an_update_that_somebody_sent_and_never_a_view_of_it(rows: np.ndarray) -> None:
    found = Krum(3)(rows)
    assert (rows == found).all(axis=1).any()
    found[:] = 0
    assert rows.all(axis=1).all()


def test_monna_trusts_the_row_that_it_is_told(rows: np.ndarray) -> None:
    rows[5:] += 10
    assert np.abs(MoNNA(7, pivot=0)(rows).mean()) > 0.5  # three of eight are from the other crowd
    np.testing.assert_allclose(MoNNA(5, pivot=6)(rows), rows[5:].mean(axis=0), atol=1e-5)


@pytest.mark.parametrize(
    "build",
    [
        lambda: MultiKrum(1, keep=0),
        lambda: MoNNA(1, pivot=-1),
        lambda: DnC(1, turns=0),
        lambda: Bucketing(0),
        lambda: Clipping(0.0),
        lambda: Clipping(float("nan")),
        lambda: NormClippedMean(-1.0),
        lambda: CentredClipping(1, radius=0.0),
        lambda: CentredClipping(1, iterations=0),
        lambda: CentredClipping(1, start=np.full(3, np.inf, np.float32)),
        lambda: AdaptiveClipping(-1),
    ],
)
def test_parameters_without_meaning_are_refused(build: object) -> None:
    with pytest.raises(AggregationError):
        build()


@pytest.mark.parametrize(
    ("rule", "minimum"), [(MultiKrum(2, keep=9), 11), (MoNNA(1, pivot=6), 7), (Composed((Bucketing(3),), Krum(1)), 13)]
)
def test_parameters_can_raise_the_number_of_rows_that_are_needed(rule: Krum, minimum: int, rows: np.ndarray) -> None:
    rule(rows[:minimum])
    with pytest.raises(AggregationError, match=f"at least {minimum}"):
        rule(rows[: minimum - 1])
