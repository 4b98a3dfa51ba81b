"""Figures read the same everywhere, and never better than they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry import wording


@given(st.floats(0, 1e6))
def test_a_spent_epsilon_is_never_shown_smaller(value: float) -> None:
    shown = float(wording.epsilon(value))
    assert value - 1e-9 <= shown <= value + 0.01 + 1e-9


def test_what_is_unknown_is_a_dash() -> None:
    for word in (wording.percent, wording.points, wording.epsilon, wording.delta, wording.size, wording.duration):
        assert word(None) == wording.UNKNOWN


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_949, "99.9 kB"), (99_950, "100 kB"), (999_600, "1.0 MB"),
     (3_912_345, "3.9 MB"), (2 * 10**12, "2.0 TB")],
)  # fmt: skip
def test_sizes(value: int, shown: str) -> None:
    assert wording.size(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.021, "0.02 s"),
        (5.04, "5.0 s"),
        (41.4, "41 s"),
        (59.7, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3725, "1 h 02 min"),
    ],
)
def test_durations(value: float, shown: str) -> None:
    assert wording.duration(value) == shown


def test_a_guarantee_is_qualified_or_none() -> None:
    assert wording.guarantee(7.931, 1e-5, "example", "add/remove") == "ε = 7.94 at δ = 1e-5, example level, add/remove"
    assert wording.guarantee(7.9, 1e-5, "none", "add/remove") == "no privacy guarantee"
    assert wording.guarantee(None, 1e-5, "example", "add/remove") == "no privacy guarantee"


def test_lists_and_amounts() -> None:
    assert wording.listing(["a"]) == "a"
    assert wording.listing(["a", "b", "c"]) == "a, b and c"
    assert wording.listing(list("abcdefgh"), 3) == "a, b, c and 5 more"
    assert wording.amount(0, "device") == "no devices"
    assert wording.amount(1, "device") == "one device"
    assert wording.amount(1300, "device") == "1,300 devices"


def test_small_plots() -> None:
    assert wording.bar(0.0) == "░" * 10
    assert wording.bar(1.0) == wording.bar(7.0) == "█" * 10
    assert wording.bar(0.5, 4) == "██░░"
    assert wording.sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert wording.sparkline([0.5, 0.5]) == "▁▁"
    assert wording.sparkline([0.5, 2.0], 0.0, 1.0) == "▅█"
    assert wording.sparkline([]) == ""


def test_moments_are_utc() -> None:
    assert wording.moment(1_764_000_000_000) == "2025-11-24 16:00"
    assert wording.moment(None) == wording.UNKNOWN
