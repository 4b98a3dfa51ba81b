"""What a ledger refuses before it writes: too much ε, no noise, a round twice, rounds too close or too many."""

from skerry.errors import BudgetExceededError, EnvelopeRefusedError, RefusedError
from skerry.security.privacy.accounting import GaussianEvent
from skerry.security.privacy.spending import CLOCK_SLACK_MS, Account

__all__ = ["check_clock", "check_debit"]


def check_debit(account: Account, run: str, round_: int, event: GaussianEvent | None) -> None:
    """A privacy filter: let a release pass, or refuse it.

    What passes is (ε, δ)-private together where prices do not depend on earlier releases, as within a run whose plan is
    public before it begins. Where they do (a run planned in the light of another, a coordinator that changes its plan),
    the theorem is for one Rényi order fixed in advance (Feldman and Zrnic 2021). Without sampling the budget fixes it;
    with sampling rates below 1 the best of all orders is taken afterwards, and nothing is proved.

    Raises:
        EnvelopeRefusedError: the round was debited before (``replayed``).
        BudgetExceededError: ε would exceed the policy's (``budget_exceeded``); the policy protects and there is no
            noise (``unprotected``); another round of the run is nearer than the minimum separation (``too_soon``); the
            data took part as often as they may (``participations_used``).
    """
    policy, spending = account.policy, account.spending
    where = f"{account.subject}, run {run}, round {round_}"
    if spending.has(run, round_):
        raise EnvelopeRefusedError("replayed", "this round was debited before", where=where)
    if policy.max_participations and spending.participations >= policy.max_participations:
        raise BudgetExceededError(
            "participations_used",
            f"these data took part in {spending.participations} rounds; the policy allows {policy.max_participations}",
            where=where,
            mend="ask other devices: participations do not come back",
        )
    near = spending.nearest(run, round_, policy.min_separation) if policy.min_separation > 1 else None
    if near is not None:
        raise BudgetExceededError(
            "too_soon",
            f"these data took part in round {near}; the policy keeps rounds {policy.min_separation} apart",
            where=where,
            mend=f"ask again in round {near + policy.min_separation}" if near < round_ else "ask for later rounds only",
        )
    if policy.unit == "none":
        return
    if event is None:
        raise BudgetExceededError(
            "unprotected", f"the policy protects every {policy.unit}, and this round has no noise", where=where
        )
    after = spending.epsilon(policy.delta, event)
    if not after <= policy.epsilon:
        raise BudgetExceededError(
            "budget_exceeded",
            f"this round would bring ε to {after:.4g} (at δ = {policy.delta:g}, per {policy.unit},"
            f" {policy.relation}); the policy allows {policy.epsilon:g}",
            where=where,
            mend="plan fewer rounds or more noise: what is spent does not come back",
        )


def check_clock(account: Account, now: int) -> None:
    """Refuse to date an entry long before the one it follows: the order of events would no longer be believable.

    Raises:
        RefusedError: the clock was set back (``clock_set_back``).
    """
    back = account.last.at - now
    if back > CLOCK_SLACK_MS:
        raise RefusedError(
            "clock_set_back",
            f"the clock stands {back / 1000:.0f} s before the ledger's last entry",
            where=account.subject,
            mend="set the clock (NTP); if the entry is the one that is wrong, the ledger can be used again at its time",
        )
