"""A ledger read by somebody who does not trust its writer."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from skerry.errors import InputError, LedgerCorruptError, MissingDependencyError, RefusedError
from skerry.security.privacy.accounting import epsilon_pld
from skerry.security.privacy.chain import GENESIS, Entry, split, walk
from skerry.security.privacy.erasure import check_erasures
from skerry.security.privacy.spending import Account, Policy, Scope, replay
from skerry.security.transparency.checkpoint import Checkpoint
from skerry.security.transparency.merkle import MerkleTree, verify_consistency

__all__ = ["LedgerReport", "origin", "read_entries", "read_ledger", "tree_of", "verify_ledger"]

_AGREEMENT = 1e-3  # the grid on which privacy losses are held is that fine, and pessimistic


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
    debits: int = 0
    checkpoint: Checkpoint | None = None
    """Size and root of the tree over the entries, when the chain holds."""

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


@lru_cache(maxsize=1024)
def origin(scope: Scope, subject: str) -> str:
    """The name of a ledger in its checkpoints."""
    return f"skerry/ledger/{scope}/{quote(subject)}"


def tree_of(entries: Iterable[Entry]) -> MerkleTree:
    """The tree whose leaves these entries are."""
    return MerkleTree(bytes.fromhex(entry.hash) for entry in entries)


def read_entries(path: Path) -> tuple[list[Entry], str | None]:
    """The entries as far as the chain holds, and what is wrong with the rest; a torn tail is left out.

    Raises:
        InputError: the file cannot be read.
    """
    found: list[Entry] = []
    try:
        found.extend(walk(split(_bytes(path))[0]))
    except LedgerCorruptError as error:
        return found, error.what
    return found, None


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


def verify_ledger(
    path: Path, *, expected_head: str | None = None, remembered: Iterable[Checkpoint] = (), pld: bool = True
) -> LedgerReport:
    """Recompute everything that a ledger claims, from its bytes; takes no lock, changes nothing.

    Args:
        path: the file.
        expected_head: a head that somebody remembers; its absence is a problem.
        remembered: checkpoints that somebody remembers; each must be proved to be an earlier state of this ledger.
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
    tree = tree_of(intact)
    now = Checkpoint(origin(account.scope, account.subject), len(tree), tree.root())
    problems = [*account.problems, *check_erasures(intact), *_check_extends(tree, now, remembered)]
    claims = account.policy.unit != "none" and not account.spending.unprotected
    rdp = account.spending.epsilon(account.policy.delta) if claims else None
    pld_ = _epsilon_pld(account) if claims and pld else None
    if rdp is not None and pld_ is not None and pld_ > rdp * (1 + _AGREEMENT):
        problems.append(f"the accountants disagree: ε = {rdp:.6g} by RDP, which is an upper bound, {pld_:.6g} by PLD")
    return LedgerReport(
        entries=len(intact),
        head=account.last.hash,
        epsilon_rdp=rdp,
        epsilon_pld=pld_,
        torn_tail=bool(torn),
        problems=tuple(problems),
        policy=account.policy,
        scope=account.scope,
        subject=account.subject,
        debits=account.debits,
        checkpoint=now,
    )


def _check_extends(tree: MerkleTree, now: Checkpoint, remembered: Iterable[Checkpoint]) -> list[str]:
    """Where this ledger is not what somebody saw, grown."""
    problems: list[str] = []
    for old in remembered:
        try:
            if old.size > now.size:
                raise RefusedError("consistency", f"the ledger has {now.size} entries, and had {old.size}")
            proof = tree.consistency_proof(old.size)
            verify_consistency(old.size, old.root, now.size, now.root, proof)
        except RefusedError as error:
            problems.append(f"it does not extend the checkpoint of {old.size} entries: {error.what}")
    return problems


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
