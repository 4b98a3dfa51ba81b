"""Who takes part in a run: their keys, the node at which each answers, the ledger entry that names each.

Fixed in a simulation. The roster of a fleet (:mod:`skerry.server.fleet`) changes while the run goes on.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from skerry.security.identity import Directory
from skerry.security.privacy.ledger import Ledger
from skerry.server.remaining import Remaining
from skerry.where import DeviceFacts

__all__ = ["Roster"]


@dataclass
class Roster:
    """The devices of a run.

    Attributes:
        directory: the keys by which devices are known now.
        nodes: node id of each device that has answered for itself.
        members: number of the entry in the population's ledger that names a device; elsewhere in it they have no names.
        budget: of each device's ε, with δ.
    """

    directory: Directory
    nodes: dict[str, int]
    members: dict[str, int] = field(default_factory=dict)
    budget: Remaining = field(kw_only=True)

    def enter(self, ledger: Ledger, now: int) -> None:
        """Name in the population's ledger every device that is here and not named there yet."""
        named = [
            ("member", {"device": device, "signing_key": self.directory.get(device).signing_key.hex()})
            for device in sorted(self.nodes)
            if device not in self.members
        ]
        self.members |= {entry.body["device"]: entry.seq for entry in ledger.record_all(named, now)}

    def renew(self, ledger: Ledger, now: int) -> None:
        """See who is here before a round: in a simulation the same as ever."""

    def askable(self, devices: Iterable[str]) -> tuple[str, ...]:
        """Those who may be asked now, in their order."""
        return tuple(devices)

    def facts(self) -> Mapping[str, DeviceFacts]:
        """What is known of devices beside what this run has asked of them: of one that is simulated, nothing."""
        return {}

    def remaining(self) -> Remaining:
        """What was left of devices' budgets when the run began, as far as conditions look at it."""
        return self.budget

    def class_of(self, device: str) -> str:  # noqa: ARG002 - of a fleet it differs
        """By what devices are alike in speed, as far as it is known: in a simulation all are."""
        return ""

    def gone(self, devices: Iterable[str]) -> frozenset[str]:
        """Those whose answers do not count any more, as of this moment."""
        return frozenset(devices) - self.nodes.keys()
