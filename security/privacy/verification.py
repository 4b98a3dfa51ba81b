"""A ledger read by somebody who does not trust its writer."""

from dataclasses import dataclass
from pathlib import Path

from skerry.errors import InputError, LedgerCorruptError, MissingDependencyError
from skerry.security.privacy.accounting import epsilon_pld
from skerry.security.privacy.chain import GENESIS, Entry, split, walk
from skerry.security.privacy.spending import Account, Policy, Scope, replay

__all__ = ["LedgerReport", "read_ledger", "verify_ledger"]


@dataclass(frozen=True)
class LedgerReport:
    """What an auditor finds in a ledger's file.

    ``epsilon_rdp`` is proved for the integer noise, ``epsilon_pld`` is that of the continuous Gaussian with the same σ
    (see :func:`skerry.security.privacy.accounting.epsilon_pld`). Both are ``None`` where there is nothing to claim: a
    broken chain, the unit ``none``, a release without noise; the second also without ``dp-accounting``.
    """

    entries: int
    head: str
    epsilon_rdp: float | None
    epsilon_pld: float | None
    torn_tail: bool
    problems: tuple[str, ...]
    policy: Policy | None = None
    scope: Scope | None = None
    subject: str | None = None

    def describe(self) -> str:
        """One sentence with every qualification that the figures need."""
        if self.problems or self.policy is None:
            return "no claim: " + "; ".join(self.problems)
        if self.epsilon_rdp is None:
            return "no claim: the policy's unit is none"
        pld = "" if self.epsilon_pld is None else f", ε ≤ {self.epsilon_pld:.4g} (PLD, continuous Gaussian)"
        simulated = "; simulated: noise from a known seed protects nothing" if self.policy.simulated else ""
        return (
            f"ε ≤ {self.epsilon_rdp:.4g} (RDP){pld} at δ = {self.policy.delta:g},"
            f" per {self.policy.unit}, {self.policy.relation}{simulated}"
        )


def read_ledger(path: Path) -> Account:
    """What a ledger's file adds up to; takes no lock, changes nothing, leaves a torn tail out.

    Raises:
        InputError: the file cannot be read.
        LedgerCorruptError: the chain does not hold.
    """
    try:
        return replay(walk(split(_bytes(path))[0]))
    except LedgerCorruptError as error:
        error.where = str(path)
        raise


def verify_ledger(path: Path, *, expected_head: str | None = None, pld: bool = True) -> LedgerReport:
    """Recompute everything that a ledger claims, from its bytes; takes no lock, changes nothing.

    Args:
        path: the file.
        expected_head: a head that somebody remembers; its absence is a problem.
        pld: also account by privacy loss distributions, when ``dp-accounting`` is installed (about a second).

    Raises:
        InputError: the file cannot be read.
    """
    data = _bytes(path)
    intact: list[Entry] = []
    torn = b""
    try:
        complete, torn = split(data)
        intact.extend(walk(complete))
        account = replay(intact, expected_head=expected_head)
    except LedgerCorruptError as error:
        head = intact[-1].hash if intact else GENESIS
        return LedgerReport(len(intact), head, None, None, bool(torn), (error.what,))
    claims = account.policy.unit != "none" and not account.spending.unprotected
    return LedgerReport(
        entries=len(intact),
        head=account.last.hash,
        epsilon_rdp=account.spending.epsilon(account.policy.delta) if claims else None,
        epsilon_pld=_epsilon_pld(account) if claims and pld else None,
        torn_tail=bool(torn),
        problems=tuple(account.problems),
        policy=account.policy,
        scope=account.scope,
        subject=account.subject,
    )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"the ledger cannot be read: {error.strerror}", where=str(path)) from error


def _epsilon_pld(account: Account) -> float | None:
    try:
        return epsilon_pld(account.spending.events(), account.policy.delta)
    except MissingDependencyError:
        return None
