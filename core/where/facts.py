"""What a condition may name of a device, and who says so."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

__all__ = ["FACTS", "LEVELS", "DeviceFacts", "Fact", "Kind", "Source"]

LEVELS = ("nearly_none", "little", "half", "plenty")
"""Steps of a level, rising: below a tenth, below a quarter, below three quarters, more."""


class Kind(StrEnum):
    """What a fact can be compared with."""

    TEXT = "text"
    NUMBER = "number"
    LEVEL = "level"


class Source(StrEnum):
    """Whose word a fact is."""

    OPERATOR = "operator"
    COORDINATOR = "coordinator"
    DEVICE = "device"
    """A claim: a device that lies is believed."""


@dataclass(frozen=True)
class Fact:
    """One name of the language.

    Attributes:
        attribute: of :class:`DeviceFacts`.
        kind: of its values.
        source: whose word it is.
        fleet: whether only enrolled devices have it: one that is simulated has no class, and what the registry holds of
            it is of other simulations.
    """

    attribute: str
    kind: Kind
    source: Source
    fleet: bool


FACTS: Mapping[str, Fact] = MappingProxyType(
    {
        "name": Fact("name", Kind.TEXT, Source.OPERATOR, fleet=False),
        "class": Fact("device_class", Kind.TEXT, Source.OPERATOR, fleet=True),
        "trust": Fact("trust", Kind.NUMBER, Source.COORDINATOR, fleet=True),
        "days_silent": Fact("days_silent", Kind.NUMBER, Source.COORDINATOR, fleet=True),
        "rounds_asked": Fact("rounds_asked", Kind.NUMBER, Source.COORDINATOR, fleet=False),
        "rounds_since": Fact("rounds_since", Kind.NUMBER, Source.COORDINATOR, fleet=False),
        "epsilon_left": Fact("epsilon_left", Kind.NUMBER, Source.COORDINATOR, fleet=False),
        "battery": Fact("battery", Kind.LEVEL, Source.DEVICE, fleet=True),
        "free_memory": Fact("free_memory", Kind.LEVEL, Source.DEVICE, fleet=True),
        "free_disk": Fact("free_disk", Kind.LEVEL, Source.DEVICE, fleet=True),
    }
)
"""By the name that a condition uses; beside them there is ``tag('…')``."""


@dataclass(frozen=True, kw_only=True)
class DeviceFacts:
    """What is known of one device now; None is not known.

    Attributes:
        name: as enrolled.
        device_class: of its invite.
        tags: words, or ``key=value``.
        trust: standing of its updates, 0 to 1; 0.5 when nothing is known.
        days_silent: since it last answered a run for itself; infinite if it never did.
        rounds_asked: rounds of this run in which it was asked.
        rounds_since: rounds since it was last asked in this run, 1 is the one before; infinite if it never was.
        epsilon_left: of the budget, after everything that runs have asked it to spend; infinite without privacy.
        battery: a level, as the device told it last.
        free_memory: the same.
        free_disk: the same.
    """

    name: str
    device_class: str | None = None
    tags: frozenset[str] = frozenset()
    trust: float | None = None
    days_silent: float | None = None
    rounds_asked: int = 0
    rounds_since: float = math.inf
    epsilon_left: float | None = None
    battery: str | None = None
    free_memory: str | None = None
    free_disk: str | None = None

    def value(self, fact: Fact) -> str | float | None:
        """The fact's value; None where it is not known."""
        found: str | float | None = getattr(self, fact.attribute)
        return found

    def tagged(self, key: str) -> bool:
        """Whether it has the tag, or one of that key."""
        return key in self.tags or self.tag(key) is not None

    def tag(self, key: str) -> str | None:
        """The value of its tag of that key; a device has at most one."""
        return next((word.partition("=")[2] for word in self.tags if word.startswith(f"{key}=")), None)
