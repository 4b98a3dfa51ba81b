"""Coins: fair, hidden by the commitment until they are opened, and bound by it."""

import numpy as np
import pytest

from skerry.errors import InputError
from skerry.security.privacy.audit import Coins, toss
from skerry.security.privacy.stream import seeded_stream


def test_coins_are_fair_and_independent():
    coins = toss({"a": 20_000, "b": 20_000}, seeded_stream(1, "coins"))
    a, b = (np.array(list(coins.tosses[name])) == "1" for name in "ab")
    assert abs(a.mean() - 0.5) < 0.02
    assert abs(b.mean() - 0.5) < 0.02
    assert abs((a == b).mean() - 0.5) < 0.02


def test_the_commitment_binds_every_coin_and_the_salt():
    coins = Coins(bytes(32), {"a": "01", "b": "1"})
    others = [
        Coins(bytes(31) + b"\1", {"a": "01", "b": "1"}),
        Coins(bytes(32), {"a": "11", "b": "1"}),
        Coins(bytes(32), {"a": "0", "b": "11"}),
        Coins(bytes(32), {"a": "01", "c": "1"}),
    ]
    assert len({coins.commitment, *(other.commitment for other in others)}) == 5
    assert Coins(bytes(32), {"b": "1", "a": "01"}).commitment == coins.commitment


@pytest.mark.parametrize("devices", [{}, {"a": 0}])
def test_no_coins_for_nobody(devices):
    with pytest.raises(InputError):
        toss(devices, seeded_stream(0, "coins"))
