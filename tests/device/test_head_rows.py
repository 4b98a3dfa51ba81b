"""A head's errors and sums of cells are the same bits compiled and in numpy: those of the arithmetic that is stated."""

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skerry.device.training import Grid, HeadTrainer, TrainPlan
from skerry.device.training.head_rows import KERNEL, LANES, LEAST_EXPONENT, Kernel, add_products, errors_of
from skerry.security.privacy.stream import ChaChaStream

compiled = pytest.mark.skipif(KERNEL is None, reason="no compiler at installation, or another arithmetic")
ways = pytest.mark.parametrize("kernel", [pytest.param(KERNEL, marks=compiled), None], ids=["compiled", "numpy"])
VECTORS = json.loads((Path(__file__).parents[1] / "conformance" / "head.json").read_text())


def test_where_continuous_integration_has_a_compiler_the_kernel_is_built() -> None:
    if "CI" in os.environ and shutil.which("cc"):
        assert KERNEL is not None, "skerry was installed where there is a C compiler, without device/training/_head"


def bits(numbers: np.ndarray) -> list:
    """All bits, of -0 too; one NaN is like another."""
    numbers = np.where(np.isnan(numbers), np.nan, numbers)
    return (
        np.abs(numbers).view(np.int64).ravel().tolist() + np.signbit(np.where(np.isnan(numbers), 0, numbers)).tolist()
    )


def problem(seed: int, n: int, classes: int, length: int, scale: float = 1.0):
    generator = np.random.default_rng(seed)
    weight = generator.normal(size=(classes, length)) / 4
    return weight, generator.normal(size=(n, length)) * scale, generator.integers(0, classes, n)


def summed(weight, rows, labels, grid: Grid, kernel: Kernel | None) -> tuple[list[int], int]:
    errors, norms = errors_of(weight, rows, labels, kernel)
    total = np.full(grid.size, 2**40, np.int64)
    with np.errstate(all="ignore"):
        errors *= grid.factors(norms)[:, None]
        left_out = add_products(errors, rows, grid, total, kernel)
    return total.tolist(), left_out


def check_both(weight, rows, labels, sigma: float = 2.0, clip: float = 1.0) -> None:
    for given_rows in (rows, rows[::-1]):
        found = [[bits(numbers) for numbers in errors_of(weight, given_rows, labels, way)] for way in (KERNEL, None)]
        assert found[0] == found[1]
    grid = Grid(clip, sigma, weight.size)
    assert summed(weight, rows, labels, grid, KERNEL) == summed(weight, rows, labels, grid, None)


@compiled
@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(0, 300),
    classes=st.integers(1, 24),
    length=st.integers(1, 70),
    scale=st.sampled_from([1e-310, 1e-160, 1e-3, 1.0, 30.0, 1e4, 1e30, 1e155, 1e300]),
    sigma=st.sampled_from([0.01, 2.0, 500.0]),
    clip=st.sampled_from([1e-30, 1.0, 1e30]),
)
@example(seed=0, n=257, classes=10, length=257, scale=1.0, sigma=3.0, clip=1.0)
@example(seed=1, n=3, classes=1000, length=1281, scale=1.0, sigma=3.0, clip=1.0)  # an example at once
@example(seed=2, n=7, classes=100, length=700, scale=1.0, sigma=3.0, clip=1.0)  # three at once
def test_both_ways_give_the_same_bits(seed, n, classes, length, scale, sigma, clip) -> None:
    check_both(*problem(seed, n, classes, length, scale), sigma, clip)


@compiled
@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    odd=st.lists(st.floats(), min_size=1, max_size=8),
    labels=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
    hostile=st.booleans(),
)
@example(
    seed=0, odd=[math.nan, math.inf, -math.inf, 5e-324, 1e30, -0.0, 1.8e308, -1e-310], labels=[-1, 10], hostile=True
)
def test_both_ways_give_the_same_bits_of_numbers_that_mean_nothing(seed, odd, labels, hostile: bool) -> None:
    weight, rows, y = problem(seed, 40, 10, 33)
    at = np.random.default_rng(seed)
    for i, number in enumerate(odd):
        rows[i, at.integers(0, 33, 3)] = number
    y[20 : 20 + len(labels)] = labels
    if hostile:
        weight[at.integers(0, 10, len(odd)), at.integers(0, 33, len(odd))] = odd
    check_both(weight, rows, y)


def by_hand(weight: list[list[float]], row: list[float], label: int) -> tuple[list[float], float]:
    """What the module states, in Python's own numbers, one after the other."""

    def over_features(left: list[float], right: list[float]) -> float:
        lanes = [0.0] * LANES
        for k, (a, b) in enumerate(zip(left, right, strict=True)):
            lanes[k % LANES] += a * b
        while len(lanes) > 1:
            half = len(lanes) // 2
            lanes = [lanes[i] + lanes[i + half] for i in range(half)]
        return lanes[0]

    def exponential(x: float) -> float:
        if x < LEAST_EXPONENT:
            return 0.0
        n = round(x * float.fromhex("0x1.71547652b82fep0"))
        r = (x - n * float.fromhex("0x1.62e42feep-1")) - n * float.fromhex("0x1.a39ef35793c76p-33")
        value = 1 / math.factorial(13)
        for k in range(12, -1, -1):
            value = value * r + 1 / math.factorial(k)
        return math.ldexp(value, n)

    scores = [over_features(of_class, row) for of_class in weight]
    exponentials = [exponential(score - max(scores)) for score in scores]
    whole = 0.0
    for number in exponentials:
        whole += number
    errors = [number / whole - (c == label) for c, number in enumerate(exponentials)]
    square = 0.0
    for error in errors:
        square += error * error
    return errors, math.sqrt(over_features(row, row) * square)


@ways
@pytest.mark.parametrize(("classes", "length", "scale"), [(10, 257, 1.0), (2, 1, 30.0), (5, 8, 400.0), (7, 100, 1e-3)])
def test_the_bits_are_those_of_the_arithmetic_that_is_stated(kernel, classes: int, length: int, scale: float) -> None:
    weight, rows, labels = problem(classes, 150, classes, length, scale)
    errors, norms = errors_of(weight, rows, labels, kernel)
    for i in (0, 1, 2, 77, 127, 128, 149):
        expected, norm = by_hand(weight.tolist(), rows[i].tolist(), int(labels[i]))
        assert bits(errors[i]) == bits(np.array(expected))
        assert bits(norms[i : i + 1]) == bits(np.array([norm]))


@ways
def test_probabilities_are_those_of_exponentials_within_three_units_in_the_last_place(kernel) -> None:
    """One class scores 0 and the other x, so the second error is exp(x) / (1 + exp(x))."""
    x = np.concatenate([-np.geomspace(1e-300, 709, 4000), -np.linspace(0, 40, 4001)])
    errors, _ = errors_of(np.array([[0.0], [1.0]]), x[:, None], np.zeros(len(x), np.int64), kernel)
    for score, found in zip(x.tolist(), errors[:, 1].tolist(), strict=True):
        exact = math.exp(score) / (1 + math.exp(score))
        assert abs(found - exact) <= 3 * math.ulp(exact) or (found == 0 and score < LEAST_EXPONENT)
    inner = errors[(x > LEAST_EXPONENT), 1]
    assert (inner > 0).all()


@ways
def test_what_is_as_long_as_the_bound_counts_and_what_is_longer_by_one_does_not(kernel) -> None:
    grid, total = Grid(1.0, 3.2, 4), np.zeros(4, np.int64)
    bound = grid.bound
    assert bound**2 == 3072**2 + 4096**2
    rows = [[3072, 4096], [bound, 0], [bound, 1], [-bound, 0.4], [bound + 1, 0], [bound, math.nan], [1e300, 0]]
    errors = np.tile([0.0, 1.0], (len(rows), 1))
    with np.errstate(all="ignore"):
        assert add_products(errors, np.array(rows), grid, total, kernel) == 4
    assert total.tolist() == [0, 0, 3072, 4096]


@ways
def test_cells_are_rounded_to_the_nearest_and_halves_to_the_even_one(kernel) -> None:
    rows = np.array([[0.5, 1.5, 2.5, -0.5, -1.5, 0.49999999999999994, -2.5000000000000004, 3.0, -0.0]])
    total = np.zeros(9, np.int64)
    assert add_products(np.ones((1, 1)), rows, Grid(1.0, 3.0, 9), total, kernel) == 0
    assert total.tolist() == [0, 2, 2, 0, -2, 0, -3, 3, 0]


def floats(written: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(written), ">f4").astype(np.float32)


@ways
@pytest.mark.parametrize("number", range(len(VECTORS["rounds"]) + 1))
def test_both_ways_give_the_deltas_that_devices_in_other_languages_are_held_to(number: int, kernel) -> None:
    odd = VECTORS["left_out"] | VECTORS["left_out"]["given"]
    vector = [*VECTORS["rounds"], odd][number]
    plan = {name: float(value) if isinstance(value, str) else value for name, value in vector["plan"].items()}
    y = np.array(vector["y"], np.int64)
    x = floats(vector["x"]).reshape(len(y), vector["features"])
    trainer = HeadTrainer(vector["classes"], vector["features"], kernel)
    plan = TrainPlan(unit="example", **plan)
    delta = trainer.train(floats(vector["start"]), x, y, plan, ChaChaStream(bytes.fromhex(vector["key"])))
    assert delta.astype(">f4").tobytes().hex() == vector["delta"]
    assert trainer.left_out == vector["left_out"]


@compiled
def test_what_does_not_fit_is_refused() -> None:
    weight, rows, labels = problem(0, 6, 3, 4)
    fitting = {"weight": weight, "rows": rows, "labels": labels, "errors": np.empty((6, 3)), "norms": np.empty(6)}
    KERNEL.errors(*fitting.values())
    for change in (
        {"weight": np.ones((3, 5))},
        {"weight": np.ones((2, 4))},
        {"weight": np.ones((0, 4))},
        {"weight": np.ones(4)},
        {"weight": np.ones((4, 3)).T},
        {"weight": np.ones((3, 4), np.float32)},
        {"rows": np.ones((5, 4))},
        {"rows": np.ones((6, 8))[:, ::2]},
        {"rows": rows.astype(">f8")},
        {"labels": np.zeros(5, np.int64)},
        {"labels": np.zeros(6, np.int32)},
        {"labels": np.zeros(6)},
        {"errors": np.empty((6, 4))},
        {"errors": np.frombuffer(bytes(144)).reshape(6, 3)},
        {"errors": np.frombuffer(bytearray(145), offset=1).reshape(6, 3)},
        {"norms": np.empty(7)},
        {"norms": None},
    ):
        with pytest.raises((ValueError, BufferError, TypeError)):
            KERNEL.errors(*(fitting | change).values())
    fitting = {"errors": np.ones((6, 3)), "rows": rows, "bound": 9.0, "total": np.zeros(12, np.int64)}
    assert KERNEL.add_products(*fitting.values()) == 0
    for change in (
        {"errors": np.ones((5, 3))},
        {"errors": np.ones((6, 4))},
        {"rows": np.ones((6, 0)), "total": np.zeros(0, np.int64)},
        {"bound": math.nan},
        {"bound": -1.0},
        {"bound": 2.0**27},
        {"total": np.zeros(11, np.int64)},
        {"total": np.zeros(12)},
        {"total": np.zeros((3, 4), np.int64)},
        {"total": np.frombuffer(bytes(96), np.int64)},
    ):
        with pytest.raises((ValueError, BufferError, TypeError)):
            KERNEL.add_products(*(fitting | change).values())


@compiled
def test_what_lies_around_the_results_is_not_touched_nor_what_was_given() -> None:
    for classes, length in ((10, 33), (3, 8), (6, 1)):
        weight, rows, labels = problem(0, 9, classes, length)
        before = [given_.copy() for given_ in (weight, rows, labels)]
        sizes = 9 * classes, 9, classes * length
        places = [
            np.full(size + 32, 7, kind) for size, kind in zip(sizes, (np.float64, np.float64, np.int64), strict=True)
        ]
        errors, norms, total = (place[16:-16] for place in places)
        KERNEL.errors(weight, rows, labels, errors.reshape(9, classes), norms)
        KERNEL.add_products(errors.reshape(9, classes), rows, 1e6, total)
        for place in places:
            assert (place[:16] == 7).all()
            assert (place[-16:] == 7).all()
            assert not (place[16:-16] == 7).all()
        for given_, copy in zip((weight, rows, labels), before, strict=True):
            assert np.array_equal(given_, copy)
