"""What is left of a budget, and when it will be used up at the rate of the latest rounds."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from skerry.security.privacy.accounting import GaussianEvent
from skerry.security.privacy.chain import Entry
from skerry.security.privacy.spending import Policy, Spending

__all__ = ["MANY", "Forecast", "forecast"]

MANY = 1_000_000
"""Rounds beyond which nothing is foretold."""

_LATEST = 20  # debits whose pace is the present one


@dataclass(frozen=True)
class Forecast:
    """What a ledger's debits lead to.

    Attributes:
        curve: ε by RDP at the policy's δ after each debit; infinite from a release without noise on.
        left: rounds like the last one that cost something, of which the filter would still let so many pass; None when
            no end is in sight, or there is no budget.
        pace_ms: mean time between the latest debits; None before the second.
        out_ms: when the last of those rounds will have been spent at that pace, in milliseconds since the epoch.
    """

    curve: tuple[float, ...]
    left: int | None
    pace_ms: float | None
    out_ms: int | None


def forecast(policy: Policy, entries: Iterable[Entry]) -> Forecast:
    """Extrapolate a verified ledger.

    The rounds that are left are exact: the same composition that the ledger refuses by. The time is a straight line.
    """
    debits = [entry for entry in entries if entry.kind == "debit"]
    spending = Spending()
    curve: list[float] = []
    last: GaussianEvent | None = None
    for debit in debits:
        event = None if debit.body["event"] is None else GaussianEvent(**debit.body["event"])
        spending.add(debit.body["run"], debit.body["round"], event)
        curve.append(spending.epsilon(policy.delta))
        last = event if event is None or event.steps else last  # a round without steps was paid for before
    left = _rounds_left(policy, spending, last) if debits else None
    if policy.max_participations:
        rest = max(0, policy.max_participations - spending.participations)
        left = rest if left is None else min(left, rest)
    latest = [debit.at for debit in debits[-_LATEST:]]
    pace = (latest[-1] - latest[0]) / (len(latest) - 1) if len(latest) > 1 else None
    out = None if left is None or pace is None else round(latest[-1] + left * pace)
    return Forecast(tuple(curve), left, pace, out)


def _rounds_left(policy: Policy, spending: Spending, event: GaussianEvent | None) -> int | None:
    if policy.unit == "none":
        return None
    if event is None or spending.unprotected:
        return 0

    def fits(rounds: int) -> bool:
        more = replace(event, steps=event.steps * rounds)
        return spending.epsilon(policy.delta, more) <= policy.epsilon

    low, high = 0, 1
    while fits(high):
        low, high = high, 2 * high
        if low >= MANY:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
