"""The compiled loop over pairs of rows gives what numpy gives, wherever rows lie, and touches nothing else."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from skerry.strategies.inner import KERNEL, float32_products

compiled = pytest.mark.skipif(KERNEL is None, reason="no compiler at installation, or a processor without AVX-512")


def test_where_continuous_integration_has_a_compiler_and_the_instructions_the_loop_is_built() -> None:
    cpu = Path("/proc/cpuinfo")
    able = shutil.which("cc") and cpu.exists() and "avx512f" in cpu.read_text(encoding="utf-8")
    if "CI" in os.environ and able:
        assert KERNEL is not None, "skerry was installed where there is a C compiler, without strategies/_inner"


def exact(rows: np.ndarray) -> np.ndarray:
    wide = rows.astype(np.float64)
    return wide @ wide.T


@compiled
def test_products_of_matrices_of_any_form_are_those_of_float64() -> None:
    rng = np.random.default_rng(0)
    forms = [(1, 1), (5, 16), (6, 17), (100, 1024), (101, 1025), (128, 700), (300, 2000), (520, 300), (0, 5), (4, 0)]
    forms += [(int(rng.integers(1, 60)), int(rng.integers(1, 4000))) for _ in range(60)]
    for n, d in forms:
        rows = rng.standard_normal((n, d), dtype=np.float32)
        found = float32_products(rows)
        lengths = np.sqrt(np.diagonal(exact(rows)))
        assert (np.abs(found - exact(rows)) <= 68 * 2.0**-24 * np.outer(lengths, lengths)).all(), f"{n} x {d}"
        np.testing.assert_array_equal(found, found.T)


@compiled
def test_equal_entries_keep_within_the_proven_error() -> None:
    """All roundings of a lane go the same way."""
    rows = np.linspace(0.1, 0.9, 60, dtype=np.float32)[:, None] * np.ones(8192, np.float32)
    np.testing.assert_allclose(float32_products(rows), exact(rows), rtol=68 * 2.0**-24, atol=0)


@compiled
@pytest.mark.parametrize("lie", ["apart", "backwards", "unaligned", "read-only", "columns apart", "by columns"])
def test_rows_are_read_where_they_lie(lie: str) -> None:
    rows = np.random.default_rng(1).standard_normal((23, 1100), dtype=np.float32)
    if lie == "apart":
        rows = rows[::2, 3:-5]
    elif lie == "backwards":
        rows = rows[::-1]
    elif lie == "unaligned":
        place = np.empty(rows.nbytes + 1, np.uint8)
        place[1:] = rows.view(np.uint8).ravel()
        rows = place[1:].view(np.float32).reshape(rows.shape)
        assert not rows.flags.aligned
    elif lie == "read-only":
        rows.flags.writeable = False
    elif lie == "columns apart":  # numpy multiplies these
        rows = rows[:, ::3]
    else:
        rows = np.asfortranarray(rows)
    before = rows.copy()
    np.testing.assert_allclose(float32_products(rows), exact(rows), atol=1e-5 * rows.shape[1])
    np.testing.assert_array_equal(rows, before)


@compiled
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_a_row_that_float32_cannot_multiply_shows_in_its_diagonal_entry_alone(bad: float) -> None:
    rows = np.random.default_rng(2).standard_normal((12, 1500), dtype=np.float32)
    rows[7, 1499] = bad
    assert np.flatnonzero(~np.isfinite(np.diagonal(float32_products(rows)))).tolist() == [7]


@compiled
def test_what_is_behind_the_result_is_not_touched_and_what_was_there_does_not_count() -> None:
    rows = np.random.default_rng(3).standard_normal((11, 90), dtype=np.float32)
    place = np.full(64 + 121 + 64, 7.0)
    KERNEL(rows, place[64:-64].reshape(11, 11))
    assert (place[:64] == 7.0).all()
    assert (place[-64:] == 7.0).all()
    np.testing.assert_allclose(place[64:-64].reshape(11, 11), exact(rows), atol=1e-3)


@compiled
@pytest.mark.parametrize(
    "change",
    [
        {"rows": np.ones((4, 6))},
        {"rows": np.ones((4, 6), np.int32)},
        {"rows": np.ones((4, 6), ">f4")},
        {"rows": np.ones(6, np.float32)},
        {"rows": np.ones((4, 12), np.float32)[:, ::2]},
        {"out": np.zeros((4, 5))},
        {"out": np.zeros((5, 5))},
        {"out": np.zeros((4, 4), np.float32)},
        {"out": np.zeros((4, 8))[:, ::2]},
        {"out": np.frombuffer(bytes(128)).reshape(4, 4)},
        {"out": memoryview(bytearray(129))[1:].cast("d", (4, 4))},  # not aligned
        {"rows": np.broadcast_to(np.float32(1), (2**58, 4))},  # a block has more bytes than can be counted
        {"out": None},
    ],
)
def test_what_does_not_fit_is_refused(change: dict) -> None:
    given = {"rows": np.ones((4, 6), np.float32), "out": np.zeros((4, 4))}
    KERNEL(*given.values())
    with pytest.raises((ValueError, BufferError, TypeError)):
        KERNEL(*(given | change).values())


@pytest.mark.parametrize("kind", [">f4", "<f4", np.float64])
def test_rows_of_another_byte_order_or_width_are_multiplied_all_the_same(kind) -> None:
    rows = np.random.default_rng(5).standard_normal((5, 4097)).astype(np.float32)
    np.testing.assert_allclose(float32_products(rows.astype(kind)), exact(rows), atol=1e-5 * rows.shape[1])
