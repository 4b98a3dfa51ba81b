"""Who is in a run: a simulated fleet with keys, homes and policies for each device of a task, made for one run; or the
coordinator of a federation, whose devices join as they answer (:mod:`skerry.server.fleet`).

What enrolment does for real devices, done at once on one machine. The private keys lie in ``runs/<id>/fleet`` (0600)
so that the delivered release can be opened as any simulated device; they protect nothing but the simulation.
"""

import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from skerry.config import Scenario
from skerry.device.canaries import CanaryPlan
from skerry.device.state import DeviceHome
from skerry.device.tasks.task import Task
from skerry.errors import RefusedError
from skerry.fsio import disk_errors, sync_folder, write_atomic, write_json, write_new
from skerry.runfolder import RunFolder
from skerry.security.attacks import compromised
from skerry.security.hpke import KemSuite
from skerry.security.identity import Directory, Identity, PublicIdentity
from skerry.security.identity.private_file import read_private
from skerry.security.privacy.audit import Coins, toss
from skerry.security.privacy.ledger import Ledger, Policy
from skerry.security.privacy.stream import seeded_stream
from skerry.server.coordinator import COORDINATOR
from skerry.server.standing import StandingLedgers, data_name
from skerry.tree_sync import sync_tree

__all__ = [
    "coins_of",
    "coordinator_identity",
    "coordinator_public",
    "device_directory",
    "forget_secret",
    "join_federation",
    "provision_fleet",
    "published",
    "run_secret",
]

_REACH = 8.0  # a crafted canary's row is so many clips long: its gradient is at the clip until it is nearly learned


def provision_fleet(
    folder: RunFolder,
    scenario: Scenario,
    task: Task,
    contents: Mapping[str, str],
    *,
    now: int,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Make the coordinator's keys and a home for each training device of the task.

    Compromised devices are drawn from the scenario's seed; which they are is written into their own homes only, and
    the coordinator never reads it before the run is over.

    Everything is on stable storage before the coordinator's private keys are, by which a fleet is known to be whole;
    a run that is stopped before makes it anew.

    Each device gets a ledger in the run's folder; or, under ``privacy.ledgers``, the one that its data have there
    (:mod:`skerry.server.standing`), of which the run's folder then holds a link.

    Args:
        folder: the run.
        scenario: of the run.
        task: whose devices are enrolled.
        contents: digest of each device's data.
        now: milliseconds since the epoch.
        ready: called before the fleet counts as whole; with what this raises it is not, and is made anew next time.

    Raises:
        RefusedError, LedgerCorruptError: see :meth:`~skerry.server.standing.StandingLedgers.join`.
    """
    fleet = folder.path / "fleet"
    suite = KemSuite(scenario.delivery.suite)
    coordinator = Identity.generate(COORDINATOR, suite)
    devices = task.devices()
    hostile = compromised(devices, scenario.attack, scenario.seed)
    policy = Policy(
        unit=scenario.privacy.unit,
        epsilon=scenario.privacy.budget or scenario.privacy.epsilon,
        delta=scenario.privacy.delta,
        simulated=True,
        min_separation=scenario.privacy.min_separation,
        max_participations=scenario.privacy.max_participations,
    )
    coins = _toss(scenario, devices)
    store = scenario.privacy.ledgers
    standing = None if store is None else StandingLedgers(Path(store).expanduser().resolve())

    def ledger_of(device: str) -> tuple[Path, Policy]:
        ledger = folder.path / "ledger" / "devices" / f"{device}.jsonl"
        agreed = replace(policy, data=f"{data_name(scenario)}/{device}")
        if standing is not None:
            return standing.join(agreed, device, contents[device], link=ledger, now=now)
        return ledger, agreed

    def enrol(number: int, device: str, ledger: Path, agreed: Policy) -> PublicIdentity:
        path = fleet / device
        identity = Identity.generate(device, suite)
        with disk_errors(path):
            path.mkdir()
        identity.save(path / "identity.json", new=True)
        _same(trust, path / "trust.json")
        if standing is None:
            Ledger.begin(ledger, scope="device", subject=device, policy=agreed, now=now, durable=False)
        home = DeviceHome(
            path=path,
            device=device,
            simulated=True,
            task=scenario.task,
            model=scenario.model,
            policy=agreed,
            ledger=ledger,
            hostile=scenario.attack if device in hostile else None,
            canaries=_canaries(scenario, coins, device, number) if coins else None,
        )
        home.save(new=True)
        return identity.public

    trust = fleet / "coordinator.public.json"
    for part in (fleet, folder.path / "ledger" / "devices"):
        with disk_errors(part):
            part.mkdir(parents=True, exist_ok=True)
    write_json(trust, coordinator.public.to_json())
    publics = {device: enrol(number, device, *ledger_of(device)) for number, device in enumerate(devices)}
    if coins is not None:
        write_json(fleet / "coins.json", {"salt": coins.salt.hex(), "tosses": dict(coins.tosses)})
    write_json(fleet / "devices.public.json", {name: public.to_json() for name, public in publics.items()})
    ready()
    for half in (fleet, folder.path / "ledger"):
        sync_tree(half)
    sync_folder(folder.path)
    coordinator.save(fleet / "coordinator.json")  # last: its presence says that the fleet is whole


def _same(file: Path, name: Path) -> None:
    """Give a file, which nobody changes, another name; or copy it, where it cannot have one more."""
    try:
        os.link(file, name)
    except FileExistsError:
        raise
    except OSError:
        write_new(name, file.read_bytes())


def join_federation(folder: RunFolder) -> None:
    """Bind a run to the coordinator of the federation in its folder of runs, and give it a secret of its own.

    A run that is bound stays so: devices follow the coordinator that they were told of.

    Raises:
        RefusedError: the federation has another coordinator than when the run began (``other_coordinator``).
    """
    fleet = folder.path / "fleet"
    coordinator = coordinator_identity(folder).public
    path = fleet / "coordinator.public.json"
    if path.exists():
        if coordinator_public(folder) != coordinator:
            raise RefusedError(
                "other_coordinator",
                "the federation's coordinator is not the one that began this run",
                where=str(path),
                mend="bring the federation's folder back from a copy, or start a new run",
            )
        return
    write_atomic(fleet / "secret", secrets.token_bytes(32), mode=0o600)
    write_json(path, coordinator.to_json())


def run_secret(folder: RunFolder) -> bytes:
    """What the coordinator's random draws of a run over a fleet are keyed by."""
    return read_private(folder.path / "fleet" / "secret")


def forget_secret(folder: RunFolder) -> None:
    """The run is over: nobody can compute its draws any more."""
    (folder.path / "fleet" / "secret").unlink(missing_ok=True)


def coins_of(folder: RunFolder) -> Coins | None:
    """The coins that decided which canaries are in; None where nothing is audited."""
    path = folder.path / "fleet" / "coins.json"
    if not path.exists():
        return None
    value = _read(path)
    return Coins(bytes.fromhex(value["salt"]), value["tosses"])


def coordinator_identity(folder: RunFolder) -> Identity:
    """The coordinator's private keys: made for a simulated run, lasting where it is over a federation's fleet."""
    if folder.simulated:
        return Identity.load(folder.path / "fleet" / "coordinator.json")
    from skerry.server.federation_home import FederationHome  # certificates, which no simulation needs

    return FederationHome(folder.path.parent).coordinator()


def coordinator_public(folder: RunFolder) -> PublicIdentity:
    """The coordinator's public identity, which also signs releases."""
    return PublicIdentity.from_json(_read(folder.path / "fleet" / "coordinator.public.json"))


def device_directory(folder: RunFolder) -> Directory:
    """The enrolled devices' public identities."""
    value = _read(folder.path / "fleet" / "devices.public.json")
    return Directory({name: PublicIdentity.from_json(public) for name, public in value.items()})


def published(folder: RunFolder) -> Path:
    """Where the coordinator publishes the population's ledger for witnesses: checkpoint and tiles."""
    return folder.path / "ledger" / "published"


def _toss(scenario: Scenario, devices: Sequence[str]) -> Coins | None:
    if not scenario.audit.canaries:
        return None
    return toss(dict.fromkeys(devices, scenario.audit.canaries), seeded_stream(scenario.seed, "audit coins"))


def _canaries(scenario: Scenario, coins: Coins, device: str, number: int) -> CanaryPlan:
    return CanaryPlan(
        kind=scenario.audit.kind,
        seed=scenario.seed + number,
        length=_REACH * scenario.privacy.clip,
        coins=coins.tosses[device],
    )


def _read(path: Path) -> dict:  # type: ignore[type-arg]
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]
