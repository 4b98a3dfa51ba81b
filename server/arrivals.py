"""Devices at work in a buffered run, and what comes of it, one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from skerry.records import Reason
from skerry.server.federation import Federation
from skerry.server.journal import RoundJournal
from skerry.server.plan import RoundPlan

__all__ = ["Arrival", "Arrivals", "Held"]


@dataclass(frozen=True)
class Arrival:
    """What came of an instruction.

    Attributes:
        device: who was asked.
        base: in which round.
        envelope: the sealed answer; None when there is none.
        arrived: when it reached this process (ms since the epoch).
        reason: why there is no answer.
    """

    device: str
    base: int
    envelope: bytes | None
    arrived: int
    reason: Reason | None


@dataclass(frozen=True)
class Held:
    """One device at work, or its answer that nobody has taken yet.

    Attributes:
        arrival: what came, or will come by the virtual clock. Neither envelope nor reason: nothing has come.
        due: the virtual instant at which it comes; 0 over a fleet, where nobody knows.
    """

    arrival: Arrival
    due: float = 0.0

    @property
    def answered(self) -> bool:
        """Whether it is known what comes of it."""
        return self.arrival.envelope is not None or self.arrival.reason is not None


class Arrivals(Protocol):
    """Devices that were asked and are waited for; each of them arrives once."""

    @property
    def now(self) -> float:
        """Seconds since the run began, by the clock that its devices live by."""
        ...

    @property
    def working(self) -> int:
        """Devices that were asked and have not arrived."""
        ...

    def begin(self, federation: Federation, plan: RoundPlan, journal: RoundJournal) -> None:
        """Let the devices of a step's plan begin; of those whose answer an earlier process kept, it arrives.

        The step's journal is open from here on.
        """
        ...

    def ask_again(self, federation: Federation, plan: RoundPlan) -> None:
        """Let devices that were at work when an earlier process ended begin again, under the same nonces."""
        ...

    def next(self, federation: Federation, journal: RoundJournal, *, wait: bool = True) -> Arrival | None:
        """What comes next; None when nobody is waited for, or nothing is here and it shall not wait."""
        ...

    def held(self) -> list[Held]:
        """All that are waited for, in the order in which what is known of them arrives."""
        ...

    def restore(self, now: float, held: Sequence[Held]) -> None:
        """Be as an earlier process was; those of whom nothing has come are asked again by :meth:`ask_again`."""
        ...
