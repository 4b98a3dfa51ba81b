"""Updates taken in one by one give what the whole matrix gives, whenever they come."""

import numpy as np
import pytest

from skerry.errors import AggregationError
from skerry.strategies import RULES, STEPS, FLTrust, UpdateStream, parse_rule

N, F, D = 15, 2, 1500
DEVICES = [f"device-{i:02}" for i in range(N)]
NAMES = (*RULES, *(f"{step}+{rule}" for step in STEPS for rule in ("mean", "median", "multi_krum")), "arc+nnm+bulyan")


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)


def filled(rows: np.ndarray, order: list[int]) -> UpdateStream:
    stream = UpdateStream(N + 3, D)
    for index in order:
        stream.add(DEVICES[index], rows[index])
    return stream


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_arrival_has_no_influence(name: str, rows: np.ndarray) -> None:
    rule = parse_rule(name, tolerate=F)
    rows[:F] += 3
    expected = rule(rows)
    for seed in range(4):
        stream = filled(rows, list(np.random.default_rng(seed).permutation(N)))
        np.testing.assert_allclose(stream.aggregate(rule), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_devices_that_are_left_out_have_no_influence(name: str, rows: np.ndarray) -> None:
    rule = parse_rule(name, tolerate=F)
    expected = rule(np.delete(rows, [4, 9], axis=0))
    rows[4], rows[9] = 1e30, -1e30
    stream = filled(rows, [9, 3, 14, 4, 0, 12, 1, 2, 5, 13, 6, 8, 7, 11, 10])
    found = stream.aggregate(rule, leave_out={DEVICES[4], DEVICES[9]})
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_rule_with_a_vector_of_its_own_works_on_a_stream(rows: np.ndarray) -> None:
    rule = FLTrust(rows.mean(axis=0))
    stream = filled(rows, [9, 3, 14, 4, 0, 12, 1, 2, 5, 13, 6, 8, 7, 11, 10])
    np.testing.assert_allclose(stream.aggregate(rule), rule(rows), rtol=1e-5, atol=1e-6)


def test_a_stream_can_be_asked_at_any_time_and_goes_on(rows: np.ndarray) -> None:
    rule, stream = parse_rule("nnm+multi_krum", tolerate=1), UpdateStream(N, D)
    for index in range(N):
        stream.add(DEVICES[index], rows[index])
        if index >= 4:
            np.testing.assert_allclose(stream.aggregate(rule), rule(rows[: index + 1]), rtol=1e-5, atol=1e-6)
    assert stream.devices == DEVICES


def test_ties_go_to_the_earlier_device_and_not_to_the_earlier_arrival() -> None:
    rows = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]], np.float32)
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        stream = UpdateStream(4, 2)
        for index in order:
            stream.add(DEVICES[index], rows[index])
        assert stream.aggregate(parse_rule("krum", tolerate=0)).tolist() == [0.0, 0.0]


def test_what_is_no_update_is_refused_and_costs_only_its_device(rows: np.ndarray) -> None:
    stream = UpdateStream(6, D)
    for index in range(5):
        stream.add(DEVICES[index], rows[index])
    bad = rows[5].copy()
    bad[7] = np.nan
    for update in (bad, rows[5, 1:], rows[5].astype(np.float64), list(rows[5])):
        with pytest.raises(AggregationError, match="device-05"):
            stream.add(DEVICES[5], update)
    with pytest.raises(AggregationError, match="already"):
        stream.add(DEVICES[0], rows[0])
    stream.add(DEVICES[6], rows[6])
    with pytest.raises(AggregationError, match="only 6"):
        stream.add(DEVICES[7], rows[7])
    rule = parse_rule("median", tolerate=2)
    np.testing.assert_array_equal(stream.aggregate(rule), rule(rows[[0, 1, 2, 3, 4, 6]]))
    with pytest.raises(AggregationError, match="at least 5"):
        stream.aggregate(rule, leave_out=set(DEVICES[:2]))


def test_a_stream_keeps_a_copy_of_each_update(rows: np.ndarray) -> None:
    stream, update = UpdateStream(1, D), rows[0].copy()
    stream.add("a", update)
    update[:] = 0
    np.testing.assert_array_equal(stream.aggregate(parse_rule("mean", tolerate=0)), rows[0])
