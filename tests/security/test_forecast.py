"""The rounds that are foretold are the very ones that the ledger lets pass; the time is a straight line."""

import pytest

from skerry.errors import BudgetExceededError
from skerry.security.privacy import GaussianEvent, Ledger, Policy
from skerry.security.privacy.forecast import MANY, forecast

NOW = 1_763_900_000_000
POLICY = Policy(unit="example", epsilon=8.0, delta=1e-5, simulated=False)


def debit(ledger, round_, event, every=1000):
    ledger.debit("run", round_, event, nonce="", now=NOW + round_ * every)


def new(path, **policy):
    return Ledger.create(path, scope="device", subject="d", policy=Policy(**vars(POLICY) | policy), now=NOW)


@pytest.mark.parametrize("event", [GaussianEvent(3.0), GaussianEvent(1.2, 0.05, 20), GaussianEvent(20.0)])
def test_as_many_rounds_pass_as_were_foretold(tmp_path, event):
    with new(tmp_path / "ledger.jsonl") as ledger:
        debit(ledger, 0, GaussianEvent(4.0))
        debit(ledger, 1, event)
        ahead = forecast(ledger.policy, ledger.entries())
        assert ahead.curve[-1] == ledger.epsilon()
        assert ahead.pace_ms == 1000
        assert ahead.out_ms == NOW + 1000 + ahead.left * 1000
        assert 0 < ahead.left < 1000
        for round_ in range(ahead.left):
            debit(ledger, 2 + round_, event)
        with pytest.raises(BudgetExceededError):
            debit(ledger, 5000, event)
        assert forecast(ledger.policy, ledger.entries()).left == 0


def test_what_cannot_be_foretold_is_not(tmp_path):
    with new(tmp_path / "one.jsonl") as ledger:
        assert forecast(ledger.policy, ledger.entries()) == forecast(ledger.policy, [])
        assert forecast(ledger.policy, []).left is None
        debit(ledger, 0, GaussianEvent(1e5))
        ahead = forecast(ledger.policy, ledger.entries())
        assert (ahead.left, ahead.pace_ms, ahead.out_ms) == (None, None, None)
        assert ledger.epsilon() < 1 < MANY
    with new(tmp_path / "two.jsonl", unit="none", max_participations=5) as ledger:
        debit(ledger, 0, None)
        ahead = forecast(ledger.policy, ledger.entries())
        assert ahead.left == 4
        assert ahead.curve == (float("inf"),)
