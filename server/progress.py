"""What changes from round to round of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from skerry.device.tasks.metrics import Quality
from skerry.records import Float32Array, RoundRecord
from skerry.server.account import Spending
from skerry.server.central import CentralNoise
from skerry.server.collect import Opened
from skerry.server.journal import RoundJournal
from skerry.server.needed import Needed
from skerry.server.plan import RoundPlan
from skerry.server.stragglers import Stragglers
from skerry.server.variates import ControlVariates
from skerry.strategies.averaging import released
from skerry.strategies.optimizers import Moments
from skerry.syncer import Job, Syncer

__all__ = ["Gathered", "Progress", "Waited"]


@dataclass
class Progress:
    """What changes from round to round."""

    vector: Float32Array
    moments: Moments
    spending: Spending
    base: Quality
    syncer: Syncer
    journal: RoundJournal
    needed: Needed
    stragglers: Stragglers
    central: CentralNoise | None = None
    variates: ControlVariates | None = None
    records: list[RoundRecord] = field(default_factory=list)
    device_seconds: dict[str, float] = field(default_factory=dict)
    receipts: dict[str, bytes] = field(default_factory=dict)
    sent: dict[int, dict[str, bytes]] = field(default_factory=dict)

    @property
    def released(self) -> Float32Array:
        """``(d,)``: the model that is evaluated and delivered; ``vector`` is what devices train from."""
        return released(self.vector, self.moments)

    def planned(self, plan: RoundPlan, cohort: Sequence[str]) -> None:
        """Count what a round's instructions may spend, and keep their digests."""
        self.spending.add(plan.number, cohort)
        self.sent[plan.number] = {device: asked.digest for device, asked in plan.asked.items() if asked.digest}


@dataclass(frozen=True)
class Waited:
    """From when to when answers were waited for, and when each came; ms since the epoch."""

    began: int
    ended: int
    arrived: Mapping[str, int]


@dataclass(frozen=True)
class Gathered:
    """The answers that a step of the model is made of.

    Attributes:
        opened: authentic updates, and why the others were dropped.
        bytes_down: of the instructions that were sent for it.
        bytes_up: of the answers.
        kept: is over when the answers are on stable storage.
        bases: the round in which each device was asked, where that is an earlier one.
        told: of it in the round's record.
        waited: for the answers of a round; None in a buffered run, where they come in virtual time.
    """

    opened: Opened
    bytes_down: int
    bytes_up: int
    kept: Job
    bases: Mapping[str, int] = field(default_factory=dict)
    told: Mapping[str, object] = field(default_factory=dict)
    waited: Waited | None = None
