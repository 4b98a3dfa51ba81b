"""Whether a device may work now: what its owner set, and what the device itself says, as a list of what is wrong.

Asked before training and between its steps. An empty list means that it may go on.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

__all__ = ["AlwaysFit", "Conditions", "Lapse", "LapseReason"]


class LapseReason(StrEnum):
    """What keeps a device from training; stable words, for logs and for programs."""

    PAUSED = "paused"
    QUIET_HOURS = "quiet_hours"
    POWER = "power"
    NETWORK = "network"
    BUSY = "busy"
    HEAT = "heat"
    MEMORY = "memory"
    DISK = "disk"


@dataclass(frozen=True)
class Lapse:
    """One condition that does not hold.

    Attributes:
        reason: which.
        sentence: for the device's owner, with the value found and the limit.
    """

    reason: LapseReason
    sentence: str


class Conditions(Protocol):
    """What is asked whether the device may work."""

    def lapses(self) -> tuple[Lapse, ...]:
        """What keeps it from working now; empty when nothing does. Quick enough to be asked every second."""
        ...


class AlwaysFit:
    """Nothing ever lapses: a simulated device, which has no battery and no owner."""

    def lapses(self) -> tuple[Lapse, ...]:
        """None."""
        return ()
