"""Compiled loops take what they can read and write, and refuse all else before anything is written."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.device.models import cnn
from skerry.device.training import head_rows
from skerry.security.privacy.mechanisms import DiscreteGaussian, inversion
from skerry.strategies import inner, selection

AROUND = 16  # numbers on each side of a result
TABLE = DiscreteGaussian(7).table
SIZES = st.sampled_from([1, 2, 3, 5, 8, 9, 63, 64, 65, 130])


@dataclass(frozen=True)
class Given:
    """An argument; whether it is written to, and whether its numbers may lie anywhere, and apart."""

    array: np.ndarray
    written: bool = False
    anywhere: bool = False
    apart: bool = False
    fixed: tuple[int, ...] = (0,)  # axes whose length another argument has as well


Call = tuple[Any, list[Any]]


def result(shape: int | tuple[int, ...], kind: type = np.float64, *, anywhere: bool = False) -> Given:
    place = np.full(int(np.prod(shape)) + 2 * AROUND, 7, kind)
    return Given(place[AROUND:-AROUND].reshape(shape), written=True, anywhere=anywhere)


def errors(rng: np.random.Generator, n: int, c: int, k: int) -> Call:
    weight, rows = Given(rng.normal(size=(c, k)), fixed=(0, 1)), Given(rng.normal(size=(n, k)), fixed=(0, 1))
    return head_rows.KERNEL.errors, [weight, rows, Given(rng.integers(-1, c + 1, n)), result((n, c)), result(n)]


def add_products(rng: np.random.Generator, n: int, c: int, k: int) -> Call:
    left, rows = Given(rng.normal(size=(n, c)), fixed=(0, 1)), Given(rng.normal(size=(n, k)), fixed=(0, 1))
    return head_rows.KERNEL.add_products, [left, rows, 1e3, result(c * k, np.int64)]


def look_up(rng: np.random.Generator, n: int, _c: int, _k: int) -> Call:
    words = Given(rng.integers(0, 2**64, n, dtype=np.uint64))
    return inversion.KERNEL, [words, TABLE.high, Given(TABLE.guide, fixed=()), result(n, np.int64)]


def middle_means(rng: np.random.Generator, n: int, _c: int, d: int) -> Call:
    rows = Given(rng.normal(size=(n, d)).astype(np.float32), anywhere=True, apart=True, fixed=(1,))
    order, network = Given(rng.permutation(n), fixed=()), Given(selection.comparators(n, n // 2, n), fixed=(1,))
    return selection.KERNEL, [rows, order, network, n // 2, n, result(d, np.float32, anywhere=True)]


def inner_products(rng: np.random.Generator, n: int, _c: int, d: int) -> Call:
    return inner.KERNEL, [Given(rng.normal(size=(n, d)).astype(np.float32), anywhere=True), result((n, n))]


def network(rng: np.random.Generator, n: int, c: int) -> tuple[Given, Given]:
    weights = rng.normal(size=cnn.Cnn(c).layout.size).astype(np.float32)
    return Given(weights), Given(rng.normal(size=(n, 1, 28, 28)).astype(np.float32), fixed=(0, 1, 2, 3))


def scores(rng: np.random.Generator, n: int, c: int, _k: int) -> Call:
    return cnn.KERNEL.scores, [*network(rng, n, c), result((n, c), np.float32)]


def gradient(rng: np.random.Generator, n: int, c: int, _k: int) -> Call:
    weights, x = network(rng, n, c)
    return cnn.KERNEL.gradient, [weights, x, Given(rng.integers(0, c, n)), result(len(weights.array), np.float32)]


BUILT = {"errors": head_rows.KERNEL, "add_products": head_rows.KERNEL, "look_up": inversion.KERNEL}
BUILT |= {"middle_means": selection.KERNEL, "inner_products": inner.KERNEL}
BUILT |= {"scores": cnn.KERNEL, "gradient": cnn.KERNEL}
CALLS = {
    call.__name__: call for call in (errors, add_products, look_up, middle_means, inner_products, scores, gradient)
}


def other_type(given_: Given) -> tuple[Any, bool]:
    return given_.array.astype(np.float32 if given_.array.dtype == np.float64 else np.float64), False


def other_byte_order(given_: Given) -> tuple[Any, bool]:
    return given_.array.astype(given_.array.dtype.newbyteorder("S")), False


def longer(given_: Given) -> tuple[Any, bool]:
    axis = given_.fixed[-1] if given_.fixed else 0
    return np.repeat(given_.array, 2, axis), not given_.fixed


def shorter(given_: Given) -> tuple[Any, bool]:
    axis = given_.fixed[0] if given_.fixed else 0
    return np.ascontiguousarray(np.delete(given_.array, 0, axis)), False


def of_more_dimensions(given_: Given) -> tuple[Any, bool]:
    return given_.array[None], False


def apart(given_: Given) -> tuple[Any, bool]:
    view = np.repeat(given_.array, 2, -1)[..., ::2]
    return view, given_.apart or view.flags.c_contiguous


def by_columns(given_: Given) -> tuple[Any, bool]:
    view = np.asfortranarray(given_.array)
    return view, given_.apart or view.flags.c_contiguous


def not_aligned(given_: Given) -> tuple[Any, bool]:
    """Without the mark in its type that numpy sets on such arrays."""
    array = given_.array
    place = memoryview(bytearray(array.nbytes + 1))[1:]
    place[:] = array.tobytes()
    return place.cast(array.dtype.char, array.shape) if array.size else array, given_.anywhere or not array.size


def marked_as_not_aligned(given_: Given) -> tuple[Any, bool]:
    place = np.zeros(given_.array.nbytes + 1, np.uint8)[1:].view(given_.array.dtype).reshape(given_.array.shape)
    place[...] = given_.array
    return place, given_.anywhere or not place.size


def read_only(given_: Given) -> tuple[Any, bool]:
    view = given_.array.view()
    view.flags.writeable = False
    return view, not given_.written


def nothing(_: Given) -> tuple[Any, bool]:
    return None, False


CHANGES: list[Callable[[Given], tuple[Any, bool]]] = [
    *(other_type, other_byte_order, longer, shorter, of_more_dimensions, apart, by_columns),
    *(not_aligned, marked_as_not_aligned, read_only, nothing),
]


def untouched_around(given_: Given) -> bool:
    place = given_.array.base
    return bool((place[:AROUND] == 7).all() and (place[-AROUND:] == 7).all())


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), n=SIZES, c=st.integers(1, 12), k=SIZES)
def test_what_fits_is_computed_and_what_does_not_is_refused_untouched(name, change, seed, n, c, k) -> None:
    if BUILT[name] is None:
        pytest.skip("no compiler at installation, or another processor")
    kernel, expected = CALLS[name](np.random.default_rng(seed), n, c, k)
    kernel(*(a.array if isinstance(a, Given) else a for a in expected))
    for number in [i for i, a in enumerate(expected) if isinstance(a, Given)]:
        _, found = CALLS[name](np.random.default_rng(seed), n, c, k)
        changed, fits = change(found[number])
        objects = [changed if i == number else a.array if isinstance(a, Given) else a for i, a in enumerate(found)]
        results = [i for i, a in enumerate(found) if isinstance(a, Given) and a.written]
        if fits:
            kernel(*objects)
        else:
            with pytest.raises((ValueError, BufferError, TypeError)):
                kernel(*objects)
        for i in results:
            assert untouched_around(found[i])
            if not fits:
                assert (found[i].array == 7).all()
            elif change is not longer:
                assert np.asarray(objects[i]).tobytes() == expected[i].array.tobytes()
