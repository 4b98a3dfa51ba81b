"""Canaries: which are planted, and that each can be told from the others."""

import numpy as np
import pytest

from skerry.device.canaries import Canaries, CanaryPlan, crafted_rows, planted
from skerry.errors import InputError


def test_only_those_whose_coins_fell_so_are_planted():
    plan = CanaryPlan("crafted", 0, 1.0, "0110")
    canaries = Canaries(np.arange(8.0).reshape(4, 2), np.array([4, 5, 6, 7]))
    inputs, labels = planted(np.zeros((3, 2)), np.zeros(3, np.int64), plan, canaries)
    assert inputs[3:].tolist() == [[2.0, 3.0], [4.0, 5.0]]
    assert labels.tolist() == [0, 0, 0, 5, 6]


@pytest.mark.parametrize("coins", ["", "01x"])
def test_coins_are_zeros_and_ones(coins):
    with pytest.raises(InputError):
        CanaryPlan("crafted", 0, 1.0, coins)


def test_gradients_of_crafted_rows_hardly_meet():
    rows, labels = crafted_rows(33, 5, 150, 4.0, seed=3)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 4.0, rtol=1e-5)
    assert not rows[:, -1].any()
    errors = np.full((150, 5), 0.2) - np.eye(5)[labels]
    gradients = np.einsum("nc,nk->nck", errors, rows).reshape(150, -1)
    gradients /= np.linalg.norm(gradients, axis=1, keepdims=True)
    meeting = np.abs(gradients @ gradients.T - np.eye(150))
    assert meeting.max() < 0.26  # same axis, other label: 1/(c - 1)
    assert np.count_nonzero(meeting > 1e-3) <= 150 * 4
    again, _ = crafted_rows(33, 5, 150, 4.0, seed=4)
    assert np.abs(again - rows).max() > 0.1, "devices do not share directions"


def test_no_more_crafted_rows_than_there_is_room_for():
    with pytest.raises(InputError, match="do not fit"):
        crafted_rows(5, 3, 13, 1.0, seed=0)
