"""What the owner is told of the device: what was done with the data, what it cost, and how the agent is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skerry.device.agent.alone import holder
from skerry.device.agent.diary import Event, read_diary
from skerry.device.agent.enrolled import LEDGER, agent_folder
from skerry.device.agent.terms import TERMS, read_terms
from skerry.device.agent.watch import is_paused
from skerry.device.membership import Folder
from skerry.device.store import MANIFEST, model_store
from skerry.errors import SkerryError
from skerry.security.certificates import ms_of
from skerry.security.identity import backend_of
from skerry.security.privacy.verification import read_ledger

__all__ = ["Budget", "Cached", "OwnerReport", "owner_report"]

_LAST = 10  # refusals told


@dataclass(frozen=True)
class Budget:
    """What the ledger adds up to.

    Attributes:
        rounds: debited, each of them one participation; the last one may not have been answered.
        epsilon: spent by RDP; None where nothing is promised, infinite is None too and ``unprotected`` not 0.
        budget: the most that is ever spent.
        left: of it.
        delta: at which both hold.
        unit: what is protected.
        relation: which data sets are neighbours.
        unprotected: rounds whose answer had no noise.
        problems: what an auditor must hear of; not empty means that the figures are no claim.
    """

    rounds: int
    epsilon: float | None
    budget: float | None
    left: float | None
    delta: float | None
    unit: str
    relation: str
    unprotected: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Cached:
    """A base model on this machine."""

    digest: str
    size: int


@dataclass(frozen=True)
class OwnerReport:
    """Everything that `status` tells; times in ms since the epoch.

    Attributes:
        name: of the device.
        federation: None before it has a place.
        certificate_ends: of the device's certificate.
        renew_at: when it is renewed.
        coordinator: whose instructions are followed.
        agent: the process that runs now.
        paused: by the owner.
        resting: why an agent that runs does not work now; None when it does.
        last_contact: when the gateway answered last, to a minute.
        terms: what is wrong with what the owner allows; None when nothing is.
        privacy: None before the ledger was begun.
        bases: base models on this machine.
        refusals: the newest refusals, newest first.
        entries: what happened last, oldest first.
    """

    name: str
    federation: str | None
    certificate_ends: int | None
    renew_at: int | None
    coordinator: str | None
    agent: int | None
    paused: bool
    resting: str | None
    last_contact: int | None
    terms: str | None
    privacy: Budget | None
    bases: tuple[Cached, ...]
    refusals: tuple[dict[str, Any], ...]
    entries: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def owner_report(home: Path) -> OwnerReport:
    """Read it from the device's folder; no key is opened, nothing is changed, and an agent that runs is not disturbed.

    Raises:
        InputError: this is not the folder of a device.
        LedgerCorruptError: its ledger's chain does not hold.
    """
    folder = Folder(home)
    _, name = backend_of(folder.keys)
    member = folder.membership()
    diary = read_diary(agent_folder(home) / "diary.json")
    entries = tuple(diary.get("entries", ()))
    agent = holder(agent_folder(home))
    coordinator = None if member is None or member.coordinator is None else member.coordinator.name
    return OwnerReport(
        name=name,
        federation=None if member is None else member.subject.federation,
        certificate_ends=None if member is None else ms_of(member.certificate.not_valid_after_utc),
        renew_at=None if member is None else member.renew_at,
        coordinator=coordinator,
        agent=agent,
        paused=is_paused(home),
        resting=None if agent is None else _resting(entries),
        last_contact=diary.get("last_contact"),
        terms=_wrong_terms(home),
        privacy=_budget(home / LEDGER),
        bases=_bases(),
        refusals=tuple(one for one in reversed(entries) if one["event"] == Event.REFUSED)[:_LAST],
        entries=entries,
    )


def _resting(entries: Sequence[Mapping[str, Any]]) -> str | None:
    """What the diary says last of whether the device may work."""
    for one in reversed(entries):
        if one["event"] in {Event.YIELDED, Event.PAUSED}:
            return str(one["what"])
        if one["event"] in {Event.STARTED, Event.ONLINE, Event.RESUMED, Event.TRAINED}:
            return None
    return None


def _wrong_terms(home: Path) -> str | None:
    try:
        read_terms(home)
    except SkerryError as error:
        return f"{TERMS}: {error.what}"
    return None


def _budget(path: Path) -> Budget | None:
    if not path.exists():
        return None
    account = read_ledger(path)
    policy = account.policy
    promised = policy.unit != "none"
    spent = account.spending.epsilon(policy.delta) if promised else math.inf
    finite = math.isfinite(spent)
    return Budget(
        rounds=account.debits,
        epsilon=spent if finite else None,
        budget=policy.epsilon if promised else None,
        left=max(0.0, policy.epsilon - spent) if finite else None,
        delta=policy.delta if promised else None,
        unit=policy.unit,
        relation=policy.relation,
        unprotected=account.spending.unprotected,
        problems=tuple(account.problems),
    )


def _bases() -> tuple[Cached, ...]:
    found = sorted(model_store().glob(f"*/{MANIFEST}"))
    return tuple(
        Cached(path.parent.name, sum(file.stat().st_size for file in path.parent.iterdir() if file.is_file()))
        for path in found
    )
