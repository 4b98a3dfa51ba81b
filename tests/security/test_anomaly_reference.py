"""Leave-one-out medians from one sort equal those from n sorts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skerry.security.anomaly import peers as peers_module
from skerry.security.anomaly.evidence import Rows
from skerry.security.anomaly.peers import peers
from skerry.security.anomaly.reference import cosines_to_others


def slow_cosines(rows: np.ndarray, trusted: np.ndarray) -> np.ndarray:
    x = rows.astype(np.float64)
    found = []
    for i in range(len(x)):
        others = trusted.copy()
        others[i] = False
        m = np.median(x[others], axis=0)
        scale = np.linalg.norm(m) * np.linalg.norm(x[i])
        found.append(float(x[i] @ m) / scale if scale > 0 else 0.0)
    return np.array(found)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), n=st.integers(3, 9), d=st.integers(1, 8))
def test_cosines_equal_those_of_the_plain_definition_also_with_ties(data: st.DataObject, n: int, d: int) -> None:
    rows = data.draw(hnp.arrays(np.int64, (n, d), elements=st.integers(-3, 3))).astype(np.float32)
    trusted = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    if trusted.sum() < 2:
        trusted[:2] = True
    np.testing.assert_allclose(cosines_to_others(rows, trusted), slow_cosines(rows, trusted), atol=1e-12)


@pytest.mark.parametrize("n", [10, 11])
def test_more_columns_than_a_block(n: int) -> None:
    rows = np.random.default_rng(0).standard_normal((n, 2570)).astype(np.float32)
    trusted = np.arange(n) != 4
    np.testing.assert_allclose(cosines_to_others(rows, trusted), slow_cosines(rows, trusted), atol=1e-12)


def test_norms_of_vectors_whose_squares_overflow_float32() -> None:
    rows = np.array([[3e30, 4e30], [0.0, 0.0]], np.float32)
    np.testing.assert_allclose(Rows(rows).lengths, [5e30, 0.0], rtol=1e-6)


def test_a_device_is_compared_with_the_others_only() -> None:
    values = np.array([1.0, 2.0, 3.0, 100.0])
    everybody = np.ones(4, bool)
    assert peers(values, everybody, 0.1)[3] == (2.0, 1.4826)
    assert peers(np.ones(4), everybody, 0.1)[0] == (1.0, 0.1)
    assert peers(values[:3], np.ones(3, bool), 0.1) == [None, None, None]
    assert peers(values, np.array([True, True, True, False]), 0.1)[0] is None


def slow_peers(values: np.ndarray, usable: np.ndarray, floor: float) -> list[tuple[float, float] | None]:
    found: list[tuple[float, float] | None] = []
    for i in range(len(values)):
        mask = usable.copy()
        mask[i] = False
        others = values[mask]
        centre = float(np.median(others)) if len(others) else 0.0
        spread = max(1.4826 * float(np.median(np.abs(others - centre))), floor) if len(others) else floor
        found.append((centre, spread) if len(others) >= 3 else None)
    return found


@settings(max_examples=300, deadline=None)
@given(data=st.data(), n=st.integers(0, 12), at_once=st.sampled_from([1, 20, 1 << 20]))
def test_peers_equal_those_of_the_plain_definition_to_the_last_bit(data: st.DataObject, n: int, at_once: int) -> None:
    numbers = st.one_of(st.integers(-2, 2).map(float), st.floats(-1e3, 1e3))
    values = np.array(data.draw(st.lists(numbers, min_size=n, max_size=n)))
    usable = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool)
    values[~usable] = -np.inf  # the logarithm of an update of length zero
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peers_module, "_AT_ONCE", at_once)
        assert peers(values, usable, 0.1) == slow_peers(values, usable, 0.1)
