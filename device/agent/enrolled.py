"""An enrolled device as the process holds it: its keys from the store, whom it trusts by its membership, and the terms.

::

    <home>/
        keys              the key store
        desk              where it was enrolled
        membership.json   its certificate, the federation's root, the coordinator's public identity
        device.toml       what the owner allows
        ledger.jsonl      what was spent of it, for good
        agent/            what the agent has under way, and what it tells its owner
"""

import difflib
from pathlib import Path

from skerry.device.agent.terms import TERMS, DeviceTerms
from skerry.device.state import DeviceHome
from skerry.device.tasks.task import Task
from skerry.device.worker import Resident
from skerry.errors import InputError, RefusedError
from skerry.security.enrolment import Membership
from skerry.security.identity import Directory, KeyStore
from skerry.security.privacy.ledger import Ledger

__all__ = ["LEDGER", "agent_folder", "check_data", "device_home", "open_ledger", "resident_of"]

LEDGER = "ledger.jsonl"
_SHOWN = 20


def agent_folder(home: Path) -> Path:
    """Where the agent keeps what is its own."""
    return home / "agent"


def device_home(home: Path, name: str, terms: DeviceTerms) -> DeviceHome:
    """The home of a real device.

    Args:
        home: the folder.
        name: under which the device is enrolled.
        terms: what the owner allows.
    """
    holder = terms.task.holder or name
    root = terms.task.root
    data = terms.task.name if root is None else f"{terms.task.name}:{root}"
    return DeviceHome(
        path=home,
        device=name,
        simulated=False,
        task=terms.task.config,
        model=terms.model,
        policy=terms.policy(f"{data}/{holder}"),
        ledger=home / LEDGER,
        hostile=None,
        holder=holder,
    )


def check_data(home: DeviceHome, task: Task) -> None:
    """See that the task has the data that the owner speaks of: told now, not in a round.

    Raises:
        InputError: it has none of that holder.
    """
    holders = task.devices()
    if home.data_of in holders:
        return
    near = difflib.get_close_matches(home.data_of, holders, n=1, cutoff=0.4)
    known = ", ".join(holders[:_SHOWN]) + (", …" if len(holders) > _SHOWN else "")
    raise InputError(
        f"the task {task.name} has no data of {home.data_of!r}",
        where=f"{home.path / TERMS}: task.holder",
        mend=f"did you mean {near[0]!r}?" if near else f"its holders are: {known}",
    )


def open_ledger(home: DeviceHome, *, now: int) -> None:
    """Begin the device's ledger, or see that the one it has keeps the promise that its owner makes.

    Raises:
        RefusedError: it promises something else (``other_promise``), or another process has it open.
        LedgerCorruptError: its chain does not hold.
    """
    if not home.ledger.exists():
        Ledger.create(home.ledger, scope="device", subject=home.device, policy=home.policy, now=now).close()
        return
    with Ledger.open(home.ledger) as ledger:
        if ledger.policy != home.policy:
            raise RefusedError(
                "other_promise",
                f"the ledger was begun with another promise than {TERMS} makes: it keeps {ledger.policy}",
                where=str(home.ledger),
                mend=f"put [task] and [privacy] of {TERMS} back as they were: a budget is not started anew",
            )


def resident_of(home: DeviceHome, store: KeyStore, member: Membership) -> Resident:
    """The device with its keys, who trusts its federation's coordinator and nobody else.

    Raises:
        InputError: the federation had no coordinator when it last answered.
    """
    coordinator = member.coordinator
    if coordinator is None:
        raise InputError("the federation has named no coordinator yet", where=home.device)
    return Resident(home, store.identity, coordinator, Directory({coordinator.name: coordinator}))
