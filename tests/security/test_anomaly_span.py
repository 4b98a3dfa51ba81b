"""Shares in the span of the other members, from inner products, against least squares on the rows themselves."""

import numpy as np
import pytest

from skerry.security.anomaly.span import shares_in_span


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_those_of_least_squares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((9, 40)) * np.exp(3 * rng.standard_normal((9, 1))) + rng.standard_normal(40)
    members = rng.permutation(9) < 6
    found = shares_in_span(rows @ rows.T, members)
    for i, row in enumerate(rows):
        span = rows[members & (np.arange(9) != i)].T
        inside = span @ np.linalg.lstsq(span, row, rcond=None)[0]
        assert found[i] == pytest.approx(inside @ inside / (row @ row), abs=1e-6)


def test_copies_among_the_members_lie_in_each_other_s_span() -> None:
    rows = np.random.default_rng(0).standard_normal((5, 40))
    rows[1] = 3 * rows[0]
    found = shares_in_span(rows @ rows.T, np.arange(5) < 4)
    np.testing.assert_allclose(found[:2], 1.0, atol=1e-6)
    assert found[4] < 0.5
