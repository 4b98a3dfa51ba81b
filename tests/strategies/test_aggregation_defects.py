"""Faults that robust aggregation is known to have elsewhere, each pinned down so that it cannot come back here."""

import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from skerry.errors import AggregationError
from skerry.records import Action
from skerry.security.anomaly import ScreenContext, Screener
from skerry.strategies import RULES, STEPS, MultiKrum, parse_rule
from skerry.strategies.gram import gram, squared_distances
from skerry.strategies.products import RowProducts
from skerry.strategies.select import nearest_rows

N, F, D = 23, 4, 500
# A step leaves nothing unseen to a rule in Gram space; a coordinate-wise rule reads what was mixed.
MIXED = tuple(f"{step}+{last}" for step in STEPS for last in ("mean", "median", "trimmed_mean", "meamed"))
NAMES = (*RULES, *(f"nnm+{rule}" for rule in RULES if f"nnm+{rule}" not in MIXED), *MIXED, "arc+nnm+median")


@pytest.fixture
def honest() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("where", [slice(None), slice(D - 1, D)], ids=["whole row", "one coordinate"])
def test_one_client_that_is_not_finite_never_owns_the_aggregate(
    honest: np.ndarray, name: str, bad: float, where: slice
) -> None:
    rows = honest.copy()
    rows[3, where] = bad
    rule = parse_rule(name, tolerate=F)
    with pytest.raises(AggregationError, match=r"rows \[3\] are not finite"):
        rule(rows)
    devices = [f"device-{i:02d}" for i in range(N)]
    verdicts = Screener([], tolerate=0).screen(rows, devices, ScreenContext(1, 0.0, np.inf))
    kept = [i for i, verdict in enumerate(verdicts) if verdict.action is Action.ACCEPT]
    assert kept == [i for i in range(N) if i != 3]
    np.testing.assert_array_equal(rule(rows[kept]), rule(np.delete(honest, 3, axis=0)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [3.4e38, -3.4e38])
def test_the_largest_finite_numbers_do_not_overflow(honest: np.ndarray, name: str, value: float) -> None:
    rows = honest.copy()
    rows[:F] = value
    rows[F : 2 * F, : D // 2] = value
    with np.errstate(all="raise", under="ignore"):
        result = parse_rule(name, tolerate=F)(rows)
    assert np.isfinite(result).all()
    everybody = np.full((N, D), value, np.float32)
    if name.endswith("foolsgold"):  # takes them all for sybils
        everybody[:] = 0
    np.testing.assert_array_equal(parse_rule(name, tolerate=F)(everybody), everybody[0])


@pytest.mark.parametrize("scale", [1e-2, 1e-3, 1e-4])
def test_distances_of_nearly_equal_models_keep_their_digits(scale: float) -> None:
    rng = np.random.default_rng(1)
    size = 20_000
    weights = rng.standard_normal(size)
    models = (weights + rng.standard_normal((N, size)) * scale * rng.uniform(0.8, 1.2, (N, 1))).astype(np.float32)
    wide = models.astype(np.float64)
    exact = np.array([[np.sum((a - b) ** 2) for b in wide] for a in wide])
    found = squared_distances(gram(models))
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=0)
    np.testing.assert_array_equal(nearest_rows(found, N - F), nearest_rows(exact, N - F))


@pytest.mark.parametrize("scale", [1e-2, 1e-3, 1e-4])
def test_krum_chooses_as_exactly_among_small_changes_of_large_models(scale: float) -> None:
    rng = np.random.default_rng(2)
    for _ in range(5):
        changes = rng.standard_normal((N, D)) * rng.uniform(0.9, 1.1, (N, 1))
        models = (rng.standard_normal(D) + scale * changes).astype(np.float32)
        wide = models.astype(np.float64)
        ranked = np.sort(np.sum((wide[:, None] - wide[None]) ** 2, axis=2), axis=1)
        best = np.argsort(ranked[:, 1 : N - F - 1].sum(axis=1))
        np.testing.assert_array_equal(parse_rule("krum", tolerate=F)(models), models[best[0]])
        weights = MultiKrum(F).weights(RowProducts(models, rule="multi_krum"))
        np.testing.assert_array_equal(np.flatnonzero(weights), np.sort(best[: N - F]))


def test_distances_between_honest_rows_keep_their_digits_beside_a_huge_hostile_one(honest: np.ndarray) -> None:
    rows = honest.copy()
    rows[7] = 1e30
    alone = squared_distances(gram(np.delete(rows, 7, axis=0)))
    beside = squared_distances(gram(rows))
    # BLAS may sum rows of another count in another order: the last digit or two are its own.
    np.testing.assert_allclose(np.delete(np.delete(beside, 7, 0), 7, 1), alone, rtol=1e-13, atol=0)
    assert (beside >= 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_never_changed_and_may_be_read_only(honest: np.ndarray, name: str) -> None:
    before = honest.copy()
    honest.flags.writeable = False
    result = parse_rule(name, tolerate=F)(honest)
    np.testing.assert_array_equal(honest, before)
    assert not np.shares_memory(result, honest)
    assert result.dtype == np.float32
    assert result.shape == (D,)


@pytest.mark.parametrize("name", NAMES)
def test_memory_layout_has_no_influence(honest: np.ndarray, name: str) -> None:
    rule = parse_rule(name, tolerate=F)
    expected = rule(honest)
    wide = np.repeat(honest, 2, axis=1)[:, ::2]
    assert not wide.flags.c_contiguous
    np.testing.assert_allclose(rule(np.asfortranarray(honest)), expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(rule(wide), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_rows_give_the_same_bits(honest: np.ndarray, name: str) -> None:
    first = parse_rule(name, tolerate=F)(honest)
    second = parse_rule(name, tolerate=F)(honest.copy())
    np.testing.assert_array_equal(first.view(np.uint32), second.view(np.uint32))


@pytest.mark.parametrize("name", ["median", "trimmed_mean", "nnm+median", "nnm+trimmed_mean"])
def test_tolerated_devices_cannot_pull_the_result_far_whatever_they_send(honest: np.ndarray, name: str) -> None:
    rule = parse_rule(name, tolerate=F)
    for value in (1e3, 1e9, 1e30):
        rows = honest.copy()
        rows[:F] = value
        result = rule(rows)
        assert (result >= honest[F:].min(axis=0)).all()
        assert (result <= honest[F:].max(axis=0)).all()


ROBUST = tuple(name for name in NAMES if name.rpartition("+")[2] not in {"mean", "foolsgold", "monna"})


@pytest.mark.parametrize("name", [*ROBUST, "clipping+foolsgold", "bucketing+trimmed_mean"])
@pytest.mark.parametrize("value", [1e3, 1e9, 1e30])
@pytest.mark.parametrize("kind", ["all alike", "each another way", "each another size", "one coordinate"])
def test_tolerated_devices_cannot_pull_the_result_out_of_the_honest_cloud(
    honest: np.ndarray, name: str, value: float, kind: str
) -> None:
    rng = np.random.default_rng(1)
    rows = honest.copy()
    if kind == "all alike":
        rows[:F] = value
    elif kind == "each another way":
        rows[:F] = value * rng.standard_normal((F, D)).astype(np.float32)
    elif kind == "each another size":
        rows[:F] = value ** np.linspace(0.2, 1, F)[:, None] * rng.standard_normal((F, D))
    else:
        rows[:F, 7] = value
    centre = honest[F:].mean(axis=0, dtype=np.float64)
    farthest = np.linalg.norm(honest[F:] - centre, axis=1).max()
    assert np.linalg.norm(parse_rule(name, tolerate=F)(rows) - centre) <= 1.5 * farthest


def test_the_mean_and_nnm_with_the_mean_have_no_breakdown_point(honest: np.ndarray) -> None:
    """Documented so, and true: nobody should choose them for a tolerance that they do not have."""
    rows = honest.copy()
    rows[0] = 1e9
    for name in ("mean", "nnm+mean"):
        assert np.abs(parse_rule(name, tolerate=F)(rows)).min() > 1e5


@pytest.mark.parametrize("name", ["nnm+multi_krum", "nnm+geometric_median", "nnm+trimmed_mean", "nnm+median"])
def test_mixing_makes_no_array_of_all_pairs(name: str) -> None:
    rows = np.random.default_rng(0).standard_normal((64, 20_000)).astype(np.float32)
    rule = parse_rule(name, tolerate=F)
    rule(rows[:, :100])  # what is imported on first use is no memory of the rule
    tracemalloc.start()
    rule(rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * rows.nbytes, "all pairs would be 64 times as much"


def test_every_test_that_the_documentation_names_is_here() -> None:
    root = Path(__file__).parents[2]
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (root / "docs/aggregation.md").read_text("utf-8"))
    assert named
    texts = {path.name: path.read_text("utf-8") for path in root.glob("tests/*/test_*.py")}
    assert [f"{file}::{name}" for file, name in named if f"def {name}(" not in texts.get(file, "")] == []
