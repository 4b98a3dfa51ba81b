"""What the registry holds and what it tells: devices, verdicts, decisions, standings."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from skerry.config import Scenario
from skerry.records import Score, Verdict
from skerry.runfolder import RunFolder
from skerry.server.registry.reputation import Appeal, Observation, Reputation
from skerry.server.standing import data_name

__all__ = [
    "SCREEN",
    "Decision",
    "DecisionKind",
    "Device",
    "DeviceKind",
    "History",
    "JudgedRound",
    "Judgement",
    "Scope",
    "Standing",
    "beyond",
    "run_scope",
    "scope_of",
]

SCREEN = "screen"
"""Author of a quarantine that a verdict imposed."""


class DeviceKind(StrEnum):
    """What stands behind a name."""

    SIMULATED = "simulated"
    REAL = "real"


class DecisionKind(StrEnum):
    """What a decision does."""

    QUARANTINE = "quarantine"
    APPEAL = "appeal"


@dataclass(frozen=True, order=True)
class Scope:
    """Within what a device's name means one device."""

    kind: DeviceKind
    name: str


@dataclass(frozen=True)
class Device:
    """A device as the registry knows it; ``first_seen`` in milliseconds since the epoch."""

    id: int
    scope: Scope
    name: str
    first_seen: int


@dataclass(frozen=True)
class JudgedRound:
    """The verdicts of one finished round, and when it ended (milliseconds since the epoch)."""

    number: int
    at: int
    verdicts: Sequence[Verdict]


@dataclass(frozen=True)
class Judgement:
    """A verdict as it was recorded: in which run, and when."""

    run: str
    at: int
    verdict: Verdict


@dataclass(frozen=True)
class Decision:
    """A quarantine or an appeal: who decided it, when and why; ``run`` and ``round`` when a verdict imposed it."""

    at: int
    kind: DecisionKind
    by: str
    why: str
    restore: float | None = None
    run: str | None = None
    round: int | None = None


@dataclass(frozen=True)
class Standing:
    """Where a device stands at one moment.

    Attributes:
        device: which.
        last_seen: when it last answered for itself; None if it never did.
        judged: how many of its updates were accepted or rejected.
        rejected: how many of them were rejected.
        reputation: the same with forgetting and appeals.
        quarantine: the decision that keeps it out, if any.
    """

    device: Device
    last_seen: int | None
    judged: int
    rejected: int
    reputation: Reputation
    quarantine: Decision | None


@dataclass(frozen=True)
class History:
    """Everything that is known of a device, oldest first: what reputation counts, verdicts that were not plain
    acceptance, and decisions.
    """

    events: tuple[Observation | Appeal, ...]
    judgements: tuple[Judgement, ...]
    decisions: tuple[Decision, ...]


def scope_of(scenario: Scenario) -> Scope:
    """The scope of a simulation's devices: its scenario's name and its data set's."""
    return Scope(DeviceKind.SIMULATED, f"{scenario.name}/{data_name(scenario)}")


def run_scope(folder: RunFolder) -> Scope:
    """The scope of a run's devices: a simulation's, or the federation whose fleet it is over."""
    return scope_of(folder.scenario) if folder.simulated else Scope(DeviceKind.REAL, folder.status["federation"])


def beyond(score: Score) -> bool:
    """Whether a score lies outside its limits."""
    return (score.low is not None and score.value < score.low) or (score.high is not None and score.value > score.high)
