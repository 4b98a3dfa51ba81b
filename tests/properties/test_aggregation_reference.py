"""Rules against plain numpy written straight from their formulas, on random matrices with ties and outliers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skerry.strategies import RULES, parse_rule


def squared(x: np.ndarray) -> np.ndarray:
    return np.array([[float(np.sum((a - b) ** 2)) for b in x] for a in x])


def clipped(x: np.ndarray, limit: float) -> np.ndarray:
    return np.array([row * min(1.0, limit / length) if (length := np.linalg.norm(row)) > 0 else row for row in x])


def step(name: str, x: np.ndarray, f: int) -> np.ndarray:
    n = len(x)
    if name == "nnm":
        mixed = []
        for i, distances in enumerate(squared(x)):
            nearest = sorted(range(n), key=lambda j: (-1.0 if j == i else distances[j], j))[: n - f]
            mixed.append(x[nearest].mean(axis=0))
        return np.array(mixed)
    lengths = np.sort([np.linalg.norm(row) for row in x])
    if name == "clipping":
        return clipped(x, float(np.median(lengths)))
    assert name == "arc"
    return clipped(x, lengths[n - int(2 * f * (n - f) / n) - 1])


def krum_order(x: np.ndarray, f: int) -> list[int]:
    scores = [sorted(np.delete(d, i))[: max(1, len(x) - f - 2)] for i, d in enumerate(squared(x))]
    return sorted(range(len(x)), key=lambda i: (sum(scores[i]), i))


def reference(name: str, rows: np.ndarray, f: int) -> np.ndarray:
    x = rows.astype(np.float64)
    n = len(x)
    if "+" in name:
        first, _, rest = name.partition("+")
        return reference(rest, step(first, x, f), f)
    if name == "mean":
        return x.sum(axis=0) / n
    if name == "median":
        return np.median(x, axis=0)
    if name == "trimmed_mean":
        return np.sort(x, axis=0)[f : n - f].mean(axis=0)
    if name == "krum":
        return x[krum_order(x, f)[0]]
    if name == "multi_krum":
        return x[krum_order(x, f)[: n - f]].mean(axis=0)
    if name == "monna":
        distances = squared(x)[0]
        return x[sorted(range(n), key=lambda j: (distances[j] if j else -1.0, j))[: n - f]].mean(axis=0)
    if name in {"norm_clipped_mean", "centred_clipping"}:
        return step("clipping", x, f).mean(axis=0)
    if name == "meamed":
        return around_median(x, n - f)
    if name == "bulyan":
        return bulyan(x, f)
    if name == "foolsgold":
        return foolsgold(x)
    return {"dnc": dnc, "caf": caf, "flame": lambda x, _: flame(x)}[name](x, f)


def around_median(x: np.ndarray, keep: int) -> np.ndarray:
    chosen = [sorted(column, key=lambda v: (abs(v - np.median(column)), v))[:keep] for column in x.T]
    return np.array([np.mean(values) for values in chosen])


def bulyan(x: np.ndarray, f: int) -> np.ndarray:
    left, chosen = list(range(len(x))), []
    for _ in range(len(x) - 2 * f):
        chosen.append(left.pop(krum_order(x[left], f)[0]))
    return around_median(x[sorted(chosen)], len(x) - 4 * f)


def dnc(x: np.ndarray, f: int) -> np.ndarray:
    for _ in range(f):
        centred = x - x.mean(axis=0)
        along = (centred @ np.linalg.svd(centred)[2][0]) ** 2
        farthest = np.flatnonzero(along >= along.max() * (1 - 1e-9))  # mixed rows can tie
        x = np.delete(x, farthest[-1], axis=0)
    return x.mean(axis=0)


def caf(x: np.ndarray, f: int) -> np.ndarray:
    c, best, least = np.ones(len(x)), x.mean(axis=0), np.inf
    while c.sum() > len(x) - 2 * f:
        mean = c @ x / c.sum()
        values, vectors = np.linalg.eigh(((x - mean).T * c) @ (x - mean) / c.sum())
        if values[-1] < least:
            best, least = mean, values[-1]
        along = ((x - mean) @ vectors[:, -1]) ** 2
        kept = 1 - along / along[c > 0].max()
        c = np.where(kept > 1e-9, c * kept, 0)  # mixed rows can be equal but for rounding
    return best


def foolsgold(x: np.ndarray) -> np.ndarray:
    n = len(x)
    similar = np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in x] for a in x])
    highest = [max((similar[i][j] for j in range(n) if j != i), default=-1.0) for i in range(n)]
    rates = []
    for i in range(n):
        pardoned = [-1.0]
        for j in range(n):
            if j != i:
                ratio = max(highest[i] / highest[j], 0.0) if highest[j] > 0 and highest[i] < highest[j] else 1.0
                pardoned.append(similar[i][j] * ratio)
        rates.append(min(max(1 - max(pardoned), 0.0), 1.0))
    with np.errstate(divide="ignore"):
        scaled = np.array(rates) / max(rates)
        weights = np.clip(np.log(scaled / (1 - scaled)) + 0.5, 0, 1)
    return weights @ x / weights.sum()


def flame(x: np.ndarray) -> np.ndarray:
    """The clusters of scikit-learn's HDBSCAN, as the paper calls it."""
    from sklearn.cluster import HDBSCAN

    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    distances = np.maximum(1 - unit @ unit.T, 0)
    np.fill_diagonal(distances, 0)
    finder = HDBSCAN(
        min_cluster_size=len(x) // 2 + 1, min_samples=1, metric="precomputed", allow_single_cluster=True, copy=True
    )
    labels = finder.fit(distances).labels_
    return step("clipping", x, 0)[labels == labels.max()].mean(axis=0)


GENERIC = ("dnc", "caf", "foolsgold", "flame")  # their formulas leave ties open: compared on rows without any
FORMULAS = tuple(rule for rule in RULES if rule not in {"geometric_median", *GENERIC})
NAMES = (*FORMULAS, "nnm+mean", "nnm+median", "nnm+trimmed_mean", "clipping+median", "arc+trimmed_mean", "arc+mean")


@st.composite
def cases(draw: st.DrawFn, least: int = 1) -> tuple[np.ndarray, int]:
    """Values are multiples of 1/8 up to 2^10: products are exact, so equal distances are exactly equal in both."""
    f = draw(st.integers(0, 3))
    n = draw(st.integers(max(least, 2 * f + least), 2 * f + 8))
    d = draw(st.integers(1, 12))
    grid = st.integers(-40, 40) | st.integers(-8192, 8192)
    rows = draw(hnp.arrays(np.int64, (n, d), elements=grid))
    return (rows / 8).astype(np.float32), f


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=200, deadline=None)
@given(case=cases(least=3))
def test_a_rule_equals_its_formula(name: str, case: tuple[np.ndarray, int]) -> None:
    rows, f = case
    if len(rows) < parse_rule(name, tolerate=f).minimum():  # Bulyan needs more
        f = (len(rows) - 3) // 4
    expected = reference(name, rows, f)
    scale = max(1.0, float(np.abs(rows).max()))
    np.testing.assert_allclose(parse_rule(name, tolerate=f)(rows), expected, rtol=1e-6, atol=2e-6 * scale)


@pytest.mark.parametrize("name", ["median", "trimmed_mean", "meamed", "bulyan", "krum", "multi_krum", "monna"])
def test_ties_are_settled_as_the_formula_says(name: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        f = int(rng.integers(0, 3))
        n = int(rng.integers(4 * f + 3, 4 * f + 9))
        rows = rng.integers(-3, 4, (n, int(rng.integers(1, 5)))).astype(np.float32)
        np.testing.assert_allclose(parse_rule(name, tolerate=f)(rows), reference(name, rows, f), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [*GENERIC, "nnm+dnc", "arc+foolsgold", "clipping+nnm+caf"])
@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**31), f=st.integers(0, 3), more=st.integers(3, 8), skew=st.floats(0, 2))
def test_a_rule_equals_its_formula_on_rows_in_general_position(
    name: str, seed: int, f: int, more: int, skew: float
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((2 * f + more, 12)) + skew * rng.standard_normal(12)
    rows[:f] *= rng.choice([-3.0, 1.0, 30.0])
    rows = rows.astype(np.float32)
    expected = reference(name, rows, f)
    np.testing.assert_allclose(parse_rule(name, tolerate=f)(rows), expected, rtol=1e-5, atol=1e-5 * np.abs(rows).max())


@pytest.mark.parametrize("name", ["mean", "median", "trimmed_mean", "meamed"])
@settings(max_examples=100, deadline=None)
@given(case=cases(), seed=st.integers(0, 2**31))
def test_the_order_of_the_rows_has_no_influence(name: str, case: tuple[np.ndarray, int], seed: int) -> None:
    rows, f = case
    rule = parse_rule(name, tolerate=f)
    shuffled = np.random.default_rng(seed).permutation(rows)
    np.testing.assert_array_equal(rule(shuffled), rule(rows))


@pytest.mark.parametrize(
    "name",
    [*(n for n in RULES if n not in {"monna", "bulyan"}), "arc+mean", "nnm+mean", "nnm+median", "nnm+geometric_median"],
)
@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(7, 12))
def test_the_order_of_the_rows_has_no_influence_on_mixing_unless_distances_tie(name: str, seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, 30)).astype(np.float32)  # no two distances are equal
    rule = parse_rule(name, tolerate=2)
    np.testing.assert_allclose(rule(rng.permutation(rows)), rule(rows), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["median", "trimmed_mean"])
@settings(max_examples=100, deadline=None)
@given(case=cases(), data=st.data())
def test_f_hostile_rows_leave_each_coordinate_within_the_honest_range(
    name: str, case: tuple[np.ndarray, int], data: st.DataObject
) -> None:
    rows, f = case
    hostile = data.draw(hnp.arrays(np.float32, (f, rows.shape[1]), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
    honest = rows[f:]
    result = parse_rule(name, tolerate=f)(np.concatenate([hostile, honest]))
    slack = 1e-6 * max(1.0, float(np.abs(honest).max()))
    assert (result >= honest.min(axis=0) - slack).all()
    assert (result <= honest.max(axis=0) + slack).all()


SHIFTING = ("mean", "median", "trimmed_mean", "krum", "multi_krum", "monna", "geometric_median", "meamed")


@pytest.mark.parametrize("name", [*SHIFTING, "nnm+mean", "nnm+median", "nnm+trimmed_mean"])
@settings(max_examples=50, deadline=None)
@given(case=cases(least=3), shift=st.integers(-64, 64))
def test_shifting_every_update_shifts_the_result(name: str, case: tuple[np.ndarray, int], shift: int) -> None:
    rows, f = case
    rule = parse_rule(name, tolerate=f)
    scale = max(1.0, float(np.abs(rows).max()), abs(shift))
    np.testing.assert_allclose(rule(rows + np.float32(shift)), rule(rows) + shift, atol=4e-6 * scale)


@settings(max_examples=200, deadline=None)
@given(case=cases(), scale=st.sampled_from([1e-30, 1.0, 1e30]))
def test_no_point_near_the_geometric_median_has_less_distance_to_the_updates(
    case: tuple[np.ndarray, int], scale: float
) -> None:
    rows, f = case
    wide = rows.astype(np.float64)
    found = parse_rule("geometric_median", tolerate=f)((rows * np.float32(scale)).astype(np.float32)) / scale

    def total(point: np.ndarray) -> float:
        return float(np.linalg.norm(wide - point, axis=1).sum())

    size = float(np.abs(wide).max()) or 1.0
    others = [*wide, wide.mean(axis=0), np.median(wide, axis=0)]
    others += [found + size * step * axis for axis in np.eye(rows.shape[1]) for step in (-1e-1, -1e-3, 1e-3, 1e-1)]
    assert total(found) <= min(map(total, others)) + 1e-5 * size * len(rows)
