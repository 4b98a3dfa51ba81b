"""Noise looked up by the compiled loop is the noise that numpy looks up, word by word, and nothing else is touched."""

import os
import shutil
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skerry.security.privacy.mechanisms import DiscreteGaussian, Skellam, WideGaussian
from skerry.security.privacy.mechanisms.inversion import KERNEL, Table
from skerry.security.privacy.stream import seeded_stream

compiled = pytest.mark.skipif(KERNEL is None, reason="no compiler at installation")
TABLES: dict[str, Table] = {
    "one entry": DiscreteGaussian(Fraction(1, 16)).table,
    "few": DiscreteGaussian(3).table,
    "a round's": DiscreteGaussian(Fraction(2.8518) * 4207).table,
    "skellam": Skellam(40).table,
    "wide": WideGaussian(2**20).parts[1],
}


def test_where_continuous_integration_has_a_compiler_the_kernel_is_built() -> None:
    if "CI" in os.environ and shutil.which("cc"):
        assert KERNEL is not None, "skerry was installed where there is a C compiler, without mechanisms/_inversion"


class Words:
    """A stream of given words first, and others after them."""

    is_seeded = True

    def __init__(self, words: list[int]) -> None:
        self._given, self._others, self.more = np.array(words, np.uint64), seeded_stream(5), 0

    def uint64(self, n: int) -> np.ndarray:
        if self._given is not None:
            given_, self._given = self._given, None
            return given_
        self.more += 1
        return self._others.uint64(n)


def sampled(table: Table, words: list[int], kernel: Any) -> tuple[list[int], int]:
    stream = Words(words)
    return table.sample(len(words), stream, kernel).tolist(), stream.more


@compiled
@pytest.mark.parametrize("name", TABLES)
def test_both_ways_give_the_same_samples_of_a_stream(name: str) -> None:
    streams = seeded_stream(1, name), seeded_stream(1, name)
    for n in (0, 1, 257, 100_000):
        found, expected = (TABLES[name].sample(n, s, way) for s, way in zip(streams, (KERNEL, None), strict=True))
        assert found.dtype == np.int64
        assert np.array_equal(found, expected)
        assert streams[0].drawn == streams[1].drawn


@compiled
@pytest.mark.parametrize("name", TABLES)
def test_both_ways_give_the_same_samples_around_each_entry_and_at_both_ends(name: str) -> None:
    entries = TABLES[name].high[:-1].tolist()
    keys = {0, 2**63 - 1} | {max(0, min(2**63 - 1, entry + step)) for entry in entries for step in (-1, 1)}
    words = sorted(2 * key + sign for key in keys - set(entries) for sign in (0, 1))
    found, expected = (sampled(TABLES[name], words, way) for way in (KERNEL, None))
    assert found == expected
    assert found[1] == 0
    ties = [2 * entry + 1 for entry in entries[::97]]
    found, expected = (sampled(TABLES[name], [*words[:10], *ties, 7], way) for way in (KERNEL, None))
    assert found == expected
    assert found[1] == len(ties)


@compiled
@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(sorted(TABLES)), words=st.lists(st.integers(0, 2**64 - 1), max_size=40))
@example(name="few", words=[0, 1, 2**64 - 1, 2**64 - 2])
def test_both_ways_give_the_same_sample_of_any_word(name: str, words: list[int]) -> None:
    assert sampled(TABLES[name], words, KERNEL) == sampled(TABLES[name], words, None)


@compiled
def test_what_does_not_fit_is_refused_and_what_lies_around_is_not_touched() -> None:
    table = TABLES["few"]
    words, place = seeded_stream(2).uint64(50), np.full(82, 7, np.int64)
    fitting = {"words": words, "high": table.high, "guide": table.guide, "out": place[16:-16]}
    assert KERNEL(*fitting.values()) == 0
    assert (place[:16] == 7).all()
    assert (place[-16:] == 7).all()
    assert np.array_equal(place[16:-16], table.sample(50, Words(words.tolist()), None))
    beyond, below = table.guide.copy(), table.guide.copy()
    beyond[:], below[:] = len(table.high), -1
    for change in (
        {"words": words.astype(">u8")},
        {"words": words.astype(np.int64)},
        {"words": words[::2]},
        {"words": words.reshape(5, 10)},
        {"words": words[:-1]},
        {"high": table.high[:2]},  # the guide leads beyond it
        {"high": np.arange(len(table.high), dtype=np.uint64)},  # no closing entry
        {"high": table.high[:0]},
        {"high": table.high.astype(np.float64)},
        {"guide": table.guide[:-1]},
        {"guide": table.guide[:0]},
        {"guide": table.guide.astype(np.int64)},
        {"guide": beyond},
        {"guide": below},
        {"out": np.empty(49, np.int64)},
        {"out": np.empty(50)},
        {"out": np.frombuffer(bytes(400), np.int64)},
        {"out": None},
    ):
        given_ = fitting | change
        if "high" in change:
            given_["words"] = np.full(50, 2**64 - 1, np.uint64)
        with pytest.raises((ValueError, BufferError, TypeError)):
            KERNEL(*given_.values())
