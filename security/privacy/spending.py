"""What a ledger promises and what its entries add up to."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np

from skerry.errors import InputError, LedgerCorruptError
from skerry.security.privacy.accounting import ORDERS, GaussianEvent, Rdp, epsilon_from_rdp, rdp
from skerry.security.privacy.chain import Entry
from skerry.security.strict import check_integer

__all__ = ["CLOCK_SLACK_MS", "Account", "Policy", "Scope", "Spending", "debit_body", "policy_body", "replay"]

Scope = Literal["device", "population"]

CLOCK_SLACK_MS = 5 * 60 * 1000
"""By how much time may seem to run backwards from one entry to the next: clocks are put right by small steps."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The promise that a ledger keeps: (ε, δ)-DP of every ``unit`` under ``relation``, over the ledger's whole life.

    Attributes:
        unit: what is protected, ``"example"`` or ``"device"``; ``"none"`` promises nothing: ε and δ have no meaning.
        relation: which data sets are neighbours.
        epsilon: the budget.
        delta: the δ at which it holds.
        accountant: the figure that is held against the budget.
        simulated: the noise comes from a seed that others know: the entries are those of a real run, the
            protection is not.
        min_separation: b; of any b rounds of a run that follow one another, the data take part in at most one.
            Mechanisms with correlated noise (DP-FTRL) count on it; 1 asks for nothing.
        max_participations: rounds of all runs together in which the data take part; 0 is any number.
        data: identity of the data set, which this ledger speaks of whoever trains on it; empty where nobody said.

    Raises:
        InputError: another relation or accountant, a number out of range, or a value of another type.
    """

    unit: str
    relation: str = "add/remove"
    epsilon: float
    delta: float
    accountant: str = "rdp"
    simulated: bool
    min_separation: int = 1
    max_participations: int = 0
    data: str = ""

    def __post_init__(self) -> None:
        if type(self.unit) is not str or type(self.data) is not str or type(self.simulated) is not bool:
            raise InputError("a policy names a unit and data, and says whether it is simulated")
        if bool in {type(self.epsilon), type(self.delta)}:
            raise InputError("a policy's ε and δ are numbers")
        if (self.relation, self.accountant) != ("add/remove", "rdp"):
            raise InputError(
                f"a ledger accounts by rdp under add/remove, not by {self.accountant} under {self.relation}"
            )
        if not (0 < self.epsilon < math.inf and 0 < self.delta < 1):
            raise InputError(f"a policy needs 0 < ε < ∞ and 0 < δ < 1, got ε = {self.epsilon}, δ = {self.delta}")
        check_integer(self.min_separation, "a policy's min_separation", low=1)
        check_integer(self.max_participations, "a policy's max_participations")


class Spending:
    """The sum of all debits."""

    def __init__(self) -> None:
        self._steps: dict[tuple[float, float], int] = {}  # by (σ, rate)
        self._rounds: set[tuple[str, int]] = set()
        self.unprotected = 0
        """Debits of something that left without noise."""

    def add(self, run: str, round_: int, event: GaussianEvent | None) -> bool:
        """Count one debit; False when that round was counted before (it is counted again)."""
        new = (run, round_) not in self._rounds
        self._rounds.add((run, round_))
        if event is None:
            self.unprotected += 1
        else:
            kind = event.noise_multiplier, event.sampling_rate
            self._steps[kind] = self._steps.get(kind, 0) + event.steps
        return new

    def has(self, run: str, round_: int) -> bool:
        """Whether that round was counted."""
        return (run, round_) in self._rounds

    @property
    def participations(self) -> int:
        """Rounds counted, over all runs."""
        return len(self._rounds)

    def nearest(self, run: str, round_: int, separation: int) -> int | None:
        """A counted round of that run fewer than ``separation`` rounds away, before or after."""
        if separation > len(self._rounds):  # a policy may say any number
            return next((r for of, r in self._rounds if of == run and abs(r - round_) < separation), None)
        return next((r for r in range(round_ - separation + 1, round_ + separation) if (run, r) in self._rounds), None)

    def epsilon(self, delta: float, extra: GaussianEvent | None = None) -> float:
        """ε at δ by RDP; infinite once something left without noise."""
        return math.inf if self.unprotected else _epsilon(self._spent(extra), delta)

    def events(self) -> list[GaussianEvent]:
        """The releases, one event for each (σ, rate)."""
        return [GaussianEvent(sigma, rate, steps) for (sigma, rate), steps in self._steps.items()]

    def _spent(self, extra: GaussianEvent | None) -> "_Spent":
        spent = tuple(self._steps.items())
        return spent if extra is None else (*spent, ((extra.noise_multiplier, extra.sampling_rate), extra.steps))


_Spent = tuple[tuple[tuple[float, float], int], ...]


@lru_cache(maxsize=1024)
def _epsilon(spent: _Spent, delta: float) -> float:
    """Remembered: the devices of a fleet have mostly spent the same."""
    return epsilon_from_rdp(_rdp(spent), delta)[0]


def _rdp(spent: _Spent) -> Rdp:
    total = np.zeros(len(ORDERS))
    for kind, steps in spent:
        if steps:  # none of an infinite price is nothing
            total += steps * _once(*kind)
    return total


@lru_cache(maxsize=1024)
def _once(sigma: float, rate: float) -> Rdp:
    curve = rdp(GaussianEvent(sigma, rate))
    curve.setflags(write=False)
    return curve


@dataclass
class Account:
    """A ledger's content: whose it is, what it promises, what was spent, and what an auditor must hear of."""

    scope: Scope
    subject: str
    policy: Policy
    spending: Spending
    last: Entry
    problems: list[str]
    debits: int = 0


def replay(entries: Iterable[Entry], *, expected_head: str | None = None) -> Account:
    """Go through a verified chain from its policy on.

    Raises:
        LedgerCorruptError: no policy at the start, an entry that this program does not write, or the expected
            head is not in the chain.
    """
    account: Account | None = None
    expected_seen = expected_head is None
    for entry in entries:
        expected_seen = expected_seen or entry.hash == expected_head
        try:
            if account is None:
                account = _opening(entry)
            elif entry.kind == "debit":
                _count(account, entry)
            elif entry.kind == "policy":
                raise ValueError("a policy stands at the start only")
            elif entry.kind == "erasure":
                _check_erasure(entry)
            if account.last.at - entry.at > CLOCK_SLACK_MS:
                account.problems.append(f"entry {entry.seq}: dated before the one it follows: a clock was set back")
        except (KeyError, TypeError, ValueError, InputError) as error:
            raise LedgerCorruptError(
                "unknown_entry", f"ledger entry {entry.seq} is not one that this program writes: {error}"
            ) from error
        account.last = entry
    if account is None:
        raise LedgerCorruptError("empty", "the ledger has no entries: its policy is missing")
    if not expected_seen:
        raise LedgerCorruptError(
            "cut_or_replaced",
            f"the ledger does not contain the head {str(expected_head)[:16]}… that was seen before",
            mend="entries were cut off at its end, or it is another ledger: restore it from a copy",
        )
    if account.policy.unit != "none" and account.spending.epsilon(account.policy.delta) > account.policy.epsilon:
        account.problems.append("more was spent than the policy allows")
    return account


def policy_body(scope: Scope, subject: str, policy: Policy) -> dict[str, Any]:
    """The first entry's body."""
    return {"scope": scope, "subject": subject, **vars(policy)}


def debit_body(run: str, round_: int, event: GaussianEvent | None, nonce: str, promise: str) -> dict[str, Any]:
    """A debit's body; an empty promise is left out."""
    body = {"run": run, "round": round_, "nonce": nonce, "event": None if event is None else dict(vars(event))}
    return body | {"promise": promise} if promise else body


def _opening(entry: Entry) -> Account:
    if entry.kind != "policy":
        raise ValueError("the first entry must be the policy")
    body = dict(entry.body)
    scope, subject = body.pop("scope"), body.pop("subject")
    if scope not in get_args(Scope) or type(subject) is not str:
        raise ValueError("a policy is of a device or a population, which it names")
    if body.keys() != {field.name for field in fields(Policy)}:  # whoever writes one leaves nothing to defaults
        raise ValueError("a policy has other fields")
    return Account(scope, subject, Policy(**body), Spending(), entry, [])


def _check_erasure(entry: Entry) -> None:
    seqs = entry.body["entries"]
    if not isinstance(seqs, list) or not all(type(seq) is int and 0 <= seq < entry.seq for seq in seqs):
        raise ValueError("an erasure names entries before it")


def _count(account: Account, entry: Entry) -> None:
    account.debits += 1
    run, round_, event = entry.body["run"], entry.body["round"], _event(entry.body["event"])
    if type(run) is not str:
        raise ValueError("a run has a name")
    check_integer(round_, "a round")
    near = account.spending.nearest(run, round_, account.policy.min_separation)
    if near not in {None, round_}:
        account.problems.append(f"entry {entry.seq}: run {run}, round {round_} is too close to round {near}")
    if account.policy.max_participations and account.debits > account.policy.max_participations:
        account.problems.append(f"entry {entry.seq}: more participations than the policy allows")
    if not account.spending.add(run, round_, event):
        account.problems.append(f"entry {entry.seq}: run {run}, round {round_} was debited before")
    if event is None and account.policy.unit != "none":
        account.problems.append(f"entry {entry.seq}: a release without noise, though the policy protects")


def _event(given: Any) -> GaussianEvent | None:
    if given is None:
        return None
    event = GaussianEvent(**given)
    check_integer(event.steps, "a number of steps")
    return event
