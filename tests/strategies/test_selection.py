"""The compiled selection, numpy's sort and a sort of everything in float64 give the same."""

import os
import shutil
from collections.abc import Callable

import numpy as np
import pytest

from skerry.errors import AggregationError
from skerry.strategies import Composed, Median, NearestNeighbourMixing, TrimmedMean, UpdateStream
from skerry.strategies.aggregating import SortedRule, aggregate
from skerry.strategies.selection import GROUP, KERNEL, MOST_ROWS, comparators, middle_means

compiled = pytest.mark.skipif(
    KERNEL is None, reason="the selection kernel was not built: no C compiler at installation"
)
ways = pytest.mark.parametrize(
    "kernel", [pytest.param(KERNEL, id="compiled", marks=compiled), pytest.param(None, id="numpy")]
)

LARGEST = float(np.finfo(np.float32).max)
KINDS: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    "normal": lambda rng, n, d: rng.standard_normal((n, d)),
    "ties": lambda rng, n, d: rng.integers(-2, 3, (n, d)),
    "one value": lambda rng, n, d: np.full((n, d), -1.25),
    "denormals": lambda rng, n, d: rng.integers(-9, 10, (n, d)) * 2.0**-149,
    "zeros of both signs": lambda rng, n, d: rng.choice([-0.0, 0.0, 2.0**-149], (n, d)),
    "largest": lambda rng, n, d: rng.choice([-LARGEST, LARGEST, 0.5 * LARGEST], (n, d)),
    "all sizes": lambda rng, n, d: rng.standard_normal((n, d)) * 10.0 ** rng.integers(-44, 37, (n, d)),
}


def matrix(kind: str, rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return KINDS[kind](rng, n, d).astype(np.float32)


def mean_of_ranks(rows: np.ndarray, low: int, high: int) -> np.ndarray:
    return np.sort(rows.astype(np.float64), axis=0)[low:high].mean(axis=0)


def test_where_continuous_integration_has_a_compiler_the_kernel_is_built() -> None:
    if "CI" in os.environ and shutil.which("cc"):
        assert KERNEL is not None, "skerry was installed where there is a C compiler, without strategies/_selection"


@ways
@pytest.mark.parametrize("kind", KINDS)
def test_median_and_trimmed_mean_are_those_of_a_sort(kind: str, kernel) -> None:
    rng = np.random.default_rng(list(KINDS).index(kind))
    for case in range(40):
        n = int(rng.integers(1, 131))
        d = int(rng.integers(1, 5001 if case % 10 == 0 else 200))
        f = int(rng.integers(0, (n - 1) // 2 + 1))
        rows = matrix(kind, rng, n, d)
        rows.flags.writeable = False
        middle = aggregate(Median(f), (), rows, kernel=kernel)
        exact = mean_of_ranks(rows, (n - 1) // 2, n // 2 + 1).astype(np.float32)
        np.testing.assert_array_equal(middle, exact, err_msg=f"{n} x {d}")
        found = aggregate(TrimmedMean(f), (), rows, kernel=kernel)
        # To a millionth of the largest number that is added; denormals have no millionths.
        kept = np.sort(rows, axis=0)[f : n - f]
        bound = 1e-6 * np.abs(kept).max(axis=0).astype(np.float64) + n * 2.0**-149
        assert found.dtype == np.float32
        assert (np.abs(found - mean_of_ranks(rows, f, n - f)) <= bound).all(), f"{n} x {d}, f = {f}"


@compiled
def test_every_size_is_selected_with_every_tolerance() -> None:
    rng = np.random.default_rng(1)
    for n in range(1, 131):
        rows = rng.integers(-50, 51, (n, 67)).astype(np.float32)
        for f in {0, 1, n // 5, (n - 1) // 2} & set(range((n - 1) // 2 + 1)):
            found = middle_means(KERNEL, rows, None, slice(f, n - f), rule="test")
            np.testing.assert_array_equal(found, mean_of_ranks(rows, f, n - f).astype(np.float32))


@pytest.mark.parametrize("count", [*range(1, 18), 31, 64, 100, 129])
def test_comparators_bring_every_pattern_of_zeros_and_ones_to_its_place(count: int) -> None:
    rng = np.random.default_rng(count)
    # A network that orders zeros and ones orders everything: all patterns where they are few, else all numbers of ones.
    few = count <= 12
    lines = (
        (np.arange(2**count)[None] >> np.arange(count)[:, None]) & 1
        if few
        else rng.random((count, 5000)) < rng.random(5000)
    )
    lines = lines.astype(np.int8)
    whole = count - count % GROUP
    for start in range(0, whole, GROUP):
        lines[start : start + GROUP].sort(axis=0)
    for low, high in ((0, count), ((count - 1) // 2, count // 2 + 1), (count // 5, count - count // 5), (0, 1)):
        mixed = lines.copy()
        for first, second in comparators(count, low, high):
            assert first < second
            mixed[[first, second]] = np.sort(mixed[[first, second]], axis=0)
        wanted = np.sort(lines, axis=0)
        np.testing.assert_array_equal(mixed[low:high], wanted[low:high])
        np.testing.assert_array_equal(mixed[:low].sum(axis=0), wanted[:low].sum(axis=0))


@compiled
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", [Median(), TrimmedMean(7)], ids=lambda rule: rule.name)
def test_the_order_of_the_rows_changes_no_bit(kind: str, rule: SortedRule) -> None:
    rng = np.random.default_rng(5)
    rows = matrix(kind, rng, 53, 301)
    first = aggregate(rule, (), rows)
    for _ in range(5):
        assert aggregate(rule, (), rows[rng.permutation(53)]).tobytes() == first.tobytes()


@compiled
def test_a_matrix_may_lie_in_memory_as_it_likes() -> None:
    rng = np.random.default_rng(6)
    rows = rng.standard_normal((21, 450)).astype(np.float32)
    wanted = aggregate(TrimmedMean(4), (), rows).tobytes()
    wide = np.zeros((42, 903), np.float32)
    wide[::2, 1:901:2] = rows
    bytewise = np.zeros(rows.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(rows.shape)
    bytewise[:] = rows
    for same in (np.asfortranarray(rows), wide[::2, 1:901:2], rows[::-1], rows[:, ::-1].copy()[:, ::-1], bytewise):
        assert aggregate(TrimmedMean(4), (), same).tobytes() == wanted
    repeated = np.broadcast_to(rows[0], rows.shape)
    np.testing.assert_array_equal(aggregate(Median(), (), repeated), rows[0])


@compiled
@pytest.mark.parametrize("size", [1, 63, 64, 65, 128, 1000])
def test_nothing_is_written_behind_the_result_and_the_rows_stay(size: int) -> None:
    rows = np.random.default_rng(7).standard_normal((11, size)).astype(np.float32)
    before, place = rows.tobytes(), np.full(size + 128, 7.0, np.float32)
    assert KERNEL(rows, np.arange(11), comparators(11, 5, 6), 5, 6, place[64:-64])
    np.testing.assert_array_equal(place[64:-64], np.median(rows, axis=0))
    assert (place[:64] == 7).all()
    assert (place[-64:] == 7).all()
    assert rows.tobytes() == before


@ways
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_found_wherever_it_is(bad: float, kernel) -> None:
    for n, d in ((3, 1), (8, 64), (13, 130)):
        for row, column in ((0, 0), (n - 1, d - 1), (n // 2, d // 2)):
            rows = np.random.default_rng(8).standard_normal((n, d)).astype(np.float32)
            rows[row, column] = bad
            for rule in (Median(1), TrimmedMean(1)):
                with pytest.raises(AggregationError, match=rf"rows \[{row}\] are not finite"):
                    aggregate(rule, (), rows, kernel=kernel)


@ways
def test_rows_that_are_left_out_have_no_part(kernel) -> None:
    rows = np.random.default_rng(9).standard_normal((30, 500)).astype(np.float32)
    order = np.random.default_rng(10).permutation(30)[:17]
    found = aggregate(TrimmedMean(3), (), rows, order=order, kernel=kernel)
    np.testing.assert_allclose(found, mean_of_ranks(rows[order], 3, 14), rtol=0, atol=1e-6)
    stream = UpdateStream(capacity=30, size=500)
    for index, row in enumerate(rows):
        stream.add(f"{index:02}", row)
    streamed = stream.aggregate(Median(2), leave_out={f"{index:02}" for index in range(3)})
    np.testing.assert_array_equal(streamed, aggregate(Median(2), (), rows[3:], kernel=kernel))


@ways
def test_no_columns_give_no_numbers(kernel) -> None:
    assert aggregate(Median(), (), np.empty((3, 0), np.float32), kernel=kernel).shape == (0,)


@compiled
@pytest.mark.parametrize(
    "change",
    [
        {"rows": np.zeros((3, 4))},
        {"rows": np.zeros(4, np.float32)},
        {"rows": np.zeros((3, 4), ">f4")},
        {"order": np.array([0, 1, 3])},
        {"order": np.array([0, 1, -1])},
        {"order": np.arange(3, dtype=np.int32)},
        {"order": np.arange(6)[::2]},
        {"order": memoryview(bytearray(25))[1:].cast("q")},  # not aligned
        {"network": np.array([[0, 3]], np.uint16)},
        {"network": np.array([[1, 1]], np.uint16)},
        {"network": np.zeros((2, 3), np.uint16)},
        {"network": memoryview(b"\0\0\0\2\0")[1:].cast("H", (1, 2))},  # not aligned
        {"low": -1},
        {"low": 2},
        {"high": 4},
        {"out": np.zeros(3, np.float32)},
        {"out": np.zeros(8, np.float32)[::2]},
        {"out": np.broadcast_to(np.float32(0), 4)},
        {"out": np.zeros(4)},
    ],
    ids=lambda change: "-".join(f"{key}" for key in change),
)
def test_what_does_not_fit_together_is_refused_before_anything_is_read(change: dict) -> None:
    given = {
        "rows": np.zeros((3, 4), np.float32),
        "order": np.arange(3),
        "network": comparators(3, 1, 2),
        "low": 1,
        "high": 2,
        "out": np.zeros(4, np.float32),
    }
    assert KERNEL(*given.values())
    with pytest.raises((ValueError, BufferError)):
        KERNEL(*(given | change).values())


@compiled
def test_more_rows_than_were_measured_are_sorted_by_numpy() -> None:
    def refuse(*_: object) -> bool:
        raise AssertionError

    rows = np.arange(MOST_ROWS + 1, dtype=np.float32)[:, None]
    assert aggregate(Median(), (), rows, kernel=refuse).tolist() == [MOST_ROWS / 2]
    with pytest.raises(AssertionError):
        aggregate(Median(), (), rows[1:], kernel=refuse)


@ways
def test_mixed_rows_are_trimmed_alike(kernel) -> None:
    rows = np.random.default_rng(11).standard_normal((15, 700)).astype(np.float32)
    step = NearestNeighbourMixing(3)
    found = aggregate(TrimmedMean(3), (step,), rows, kernel=kernel)
    np.testing.assert_allclose(found, Composed((step,), TrimmedMean(3))(rows), rtol=0, atol=1e-6)
