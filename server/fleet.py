"""The devices of a run over a federation's fleet: looked up in the registry, chosen by tag, found by challenge, seen to
leave.

Nothing is on this machine of a device but its public keys. Who is enrolled, unrevoked and has a certificate that holds
is asked of the registry before every round and before answers are opened. A device that answers its challenge later
than others joins at the next round.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flwr.serverapp import Grid

from skerry.clock import Clock
from skerry.errors import InputError
from skerry.fsio import write_json
from skerry.runfolder import RunFolder
from skerry.security.identity import Directory, PublicIdentity
from skerry.security.privacy.ledger import Ledger
from skerry.server.bases import share_base
from skerry.server.discover import RollCall, wait_for
from skerry.server.federation_home import FederationHome
from skerry.server.fleet_facts import facts_of
from skerry.server.fleet_rules import check_enrolled, devices_needed
from skerry.server.provision import coordinator_identity
from skerry.server.recipients import Recipients, enrolled_recipients
from skerry.server.registry import run_scope
from skerry.server.registry.enrolled import Enrolled
from skerry.server.remaining import Remaining, budget_of, remaining_before
from skerry.server.roster import Roster
from skerry.server.running import RunningServer
from skerry.where import DeviceFacts, Where, parse_where
from skerry.wording import listing

__all__ = ["FleetRoster", "good_standing", "muster"]

_AGAIN_S = 5.0


def muster(
    folder: RunFolder, grid: Grid, wanted: Sequence[str], clock: Clock, *, excluded: Iterable[str]
) -> "FleetRoster":
    """Find the enrolled devices that are there: all of them, or at least as many as the scenario needs.

    Args:
        folder: the run.
        grid: Flower's connection to the nodes.
        wanted: names of devices that may take part.
        clock: milliseconds since the epoch.
        excluded: enrolled devices that are not asked.

    Raises:
        RefusedError: fewer are enrolled than the scenario needs (``too_few_enrolled``).
        RunFailedError: fewer have answered when nothing happened any more for ``cohort.patience_s``.
    """
    scenario = folder.scenario
    check_enrolled(scenario, len(wanted), where=folder.path)
    server = RunningServer.read(FederationHome(folder.path.parent).server)
    if server is not None:
        share_base(folder, Path(server.repository))
    call = RollCall(grid, folder.id, coordinator_identity(folder), clock, again_s=_AGAIN_S)
    directory = good_standing(folder.path.parent, clock()).devices
    wait_for(call, directory, wanted, patience_s=scenario.cohort.patience_s, at_least=devices_needed(scenario))
    missing = sorted(set(wanted) - call.found.keys())
    if missing:
        folder.notify(f"not there when the run began, and asked when they come: {listing(missing)}")
    return FleetRoster.of(folder, call, clock, excluded=excluded)


def good_standing(runs: Path, now: int) -> Recipients:
    """The enrolled devices, unrevoked, whose certificates and sealing keys hold; nobody where there are none.

    Args:
        runs: folder of runs, in which the registry lies.
        now: ms since the epoch.
    """
    try:
        return enrolled_recipients(runs, now=now)
    except InputError:
        return Recipients(Directory())


@dataclass
class FleetRoster(Roster):
    """The devices of a run over a fleet.

    Attributes:
        call: finds devices at nodes, also while the run goes on.
        excluded: devices that are not asked, whatever they answer.
        chosen: devices in good standing that the scenario's ``cohort.tags`` choose now.
        enrolments: of the devices in good standing.
        known: public keys of every device that was ever on this roster, as it joined: what its receipts are checked by.
    """

    folder: RunFolder = field(kw_only=True)
    clock: Clock = field(kw_only=True)
    call: RollCall = field(kw_only=True)
    excluded: frozenset[str] = field(kw_only=True, default=frozenset())
    chosen: frozenset[str] = field(kw_only=True, default=frozenset())
    known: dict[str, PublicIdentity] = field(kw_only=True, default_factory=dict)
    enrolments: Mapping[str, Enrolled] = field(kw_only=True, default_factory=dict)

    @staticmethod
    def of(
        folder: RunFolder,
        call: RollCall,
        clock: Clock,
        *,
        excluded: Iterable[str],
    ) -> "FleetRoster":
        """The roster of those who have answered the call, with what an earlier process of the run knew.

        Args:
            folder: the run.
            call: whose answers were waited for.
            clock: milliseconds since the epoch.
            excluded: see the class.
        """
        path = folder.path / "fleet" / "devices.public.json"
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        roster = FleetRoster(
            Directory(),
            {},
            folder=folder,
            clock=clock,
            call=call,
            excluded=frozenset(excluded),
            budget=budget_of(folder.scenario.privacy),
            known={name: PublicIdentity.from_json(value) for name, value in before.items()},
        )
        roster._look(clock())
        roster._take_in(call.found)
        return roster

    def renew(self, ledger: Ledger, now: int) -> None:
        """Look who is in good standing and chosen, and take in who has answered since."""
        self._look(now)
        self.call.look(self.directory)
        self._take_in(self.call.found)
        self.enter(ledger, now)

    def askable(self, devices: Iterable[str]) -> tuple[str, ...]:
        """Those in good standing and chosen, under the keys with which they joined, who answered for themselves."""
        here = self.chosen & self.nodes.keys()
        return tuple(device for device in devices if device in here and self._same(device))

    def facts(self) -> Mapping[str, DeviceFacts]:
        """What registry and inbox know of them now, as far as the condition names it."""
        where = self._where
        if where is None:
            return {}
        return facts_of(self.folder.path.parent, self.enrolments.values(), where, self.clock())

    def remaining(self) -> Remaining:
        """What the other runs over this fleet have left, where the condition looks at it: one goes on at a time."""
        where = self._where
        if where is None or "epsilon_left" not in where.names:
            return self.budget
        return remaining_before(self.folder.path.parent, run_scope(self.folder), self.budget, but=self.folder.id)

    def class_of(self, device: str) -> str:
        """The class of its invite; of one that is gone nothing is known."""
        entry = self.enrolments.get(device)
        return "" if entry is None else entry.device_class

    def gone(self, devices: Iterable[str]) -> frozenset[str]:
        """Those who were revoked meanwhile, or left; whoever lost its tag is asked no more, and its answer counts."""
        self._look(self.clock())
        return frozenset(device for device in devices if not self._same(device))

    @property
    def _where(self) -> Where | None:
        text = self.folder.scenario.cohort.where
        return None if text is None else parse_where(text)

    def _look(self, now: int) -> None:
        """Read the registry."""
        found = good_standing(self.folder.path.parent, now)
        self.directory = found.devices
        self.enrolments = found.enrolments
        self.chosen = frozenset(found.tagged(self.folder.scenario.cohort.tags))

    def _same(self, device: str) -> bool:
        """Whether it is still the device that joined: a name can be enrolled again with other keys."""
        if device not in self.directory:
            return False
        joined = self.known.get(device)
        return joined is None or joined.signing_key == self.directory.get(device).signing_key

    def _take_in(self, found: Mapping[str, int]) -> None:
        fresh = {
            device: node
            for device, node in found.items()
            if device in self.chosen - self.nodes.keys() - self.excluded and self._same(device)
        }
        if not fresh:
            return
        self.nodes |= fresh
        self.known |= {device: self.directory.get(device) for device in fresh}
        write_json(
            self.folder.path / "fleet" / "devices.public.json",
            {name: self.known[name].to_json() for name in sorted(self.known)},
        )
