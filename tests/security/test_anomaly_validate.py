"""One update alone: shape and finiteness, from an array or from bytes."""

import numpy as np
import pytest

from skerry.records import Reason
from skerry.security.anomaly import check_update, describe_fault

GOOD = np.array([1.0, -2.5, 3e38], np.float32)


def test_a_good_update_has_no_fault() -> None:
    for delta in (GOOD, GOOD.astype("<f4").tobytes()):
        assert check_update(delta, 3) is None
        assert describe_fault(delta, 3) is None


@pytest.mark.parametrize(
    "delta",
    [GOOD[:2], GOOD.reshape(1, 3), GOOD.astype(np.float64), np.zeros(4, np.float32), GOOD.tobytes()[:-1], bytes(16)],
    ids=["short", "matrix", "float64", "long", "torn bytes", "long bytes"],
)
def test_another_shape_or_type_is_a_fault(delta: bytes | np.ndarray) -> None:
    assert check_update(delta, 3) is Reason.SHAPE
    score = describe_fault(delta, 3)
    assert score is not None
    assert "a vector of 3 float32 numbers was agreed" in score.sentence


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_single_number_that_is_not_finite_is_a_fault(bad: float, as_bytes: bool) -> None:
    vector = GOOD.copy()
    vector[1] = bad
    delta = vector.astype("<f4").tobytes() if as_bytes else vector
    assert check_update(delta, 3) is Reason.NOT_FINITE
    score = describe_fault(delta, 3)
    assert score is not None
    assert score.value == 1.0
    assert score.sentence == "1 of 3 numbers are NaN or infinite."
