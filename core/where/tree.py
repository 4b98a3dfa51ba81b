"""A condition as a tree, and what it says of a device: yes, no, or that it is not known (Kleene's strong logic)."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from skerry.where.facts import FACTS, LEVELS, DeviceFacts, Fact, Kind
from skerry.where.tokens import number_of

__all__ = ["COMPARISONS", "Both", "Compared", "Either", "Node", "Not", "OneOf", "TagIs", "Tagged", "Where"]

Compare = Callable[[float, float], bool]

COMPARISONS: Mapping[str, Compare] = MappingProxyType(
    {
        "==": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
    }
)


@dataclass(frozen=True)
class Node(ABC):
    """A part of a condition; ``span`` is where it stands in the text."""

    span: tuple[int, int]

    @abstractmethod
    def holds(self, device: DeviceFacts) -> bool | None:
        """Whether the device satisfies it; None where that is not known."""

    @abstractmethod
    def told(self, device: DeviceFacts) -> str:
        """What it looks at, as it is with the device."""

    def parts(self) -> Iterator["Node"]:
        """The nodes of which all have to hold: this one, if it is no conjunction."""
        yield self

    @abstractmethod
    def names(self) -> frozenset[str]:
        """The facts that it looks at; ``tag`` stands for all tags."""


@dataclass(frozen=True)
class Both(Node):
    """``a and b``."""

    left: Node
    right: Node

    def holds(self, device: DeviceFacts) -> bool | None:
        """No when one part says no; not known when one is not known."""
        both = (self.left.holds(device), self.right.holds(device))
        return False if False in both else None if None in both else True

    def told(self, device: DeviceFacts) -> str:
        """Both."""
        return _told_of(self.left, self.right, device)

    def parts(self) -> Iterator[Node]:
        """Those of both sides."""
        yield from self.left.parts()
        yield from self.right.parts()

    def names(self) -> frozenset[str]:
        """Those of both sides."""
        return self.left.names() | self.right.names()


@dataclass(frozen=True)
class Either(Node):
    """``a or b``."""

    left: Node
    right: Node

    def holds(self, device: DeviceFacts) -> bool | None:
        """Yes when one part says yes; not known when one is not known."""
        both = (self.left.holds(device), self.right.holds(device))
        return True if True in both else None if None in both else False

    def told(self, device: DeviceFacts) -> str:
        """Both."""
        return _told_of(self.left, self.right, device)

    def names(self) -> frozenset[str]:
        """Those of both sides."""
        return self.left.names() | self.right.names()


@dataclass(frozen=True)
class Not(Node):
    """``not a``."""

    inner: Node

    def holds(self, device: DeviceFacts) -> bool | None:
        """The opposite; what is not known stays so."""
        held = self.inner.holds(device)
        return None if held is None else not held

    def told(self, device: DeviceFacts) -> str:
        """What the inner part looks at."""
        return self.inner.told(device)

    def names(self) -> frozenset[str]:
        """Those of the inner part."""
        return self.inner.names()


@dataclass(frozen=True)
class Compared(Node):
    """A fact against a literal; levels compare by their order."""

    name: str
    sign: str
    literal: str | float

    def holds(self, device: DeviceFacts) -> bool | None:
        """The comparison's outcome."""
        fact = FACTS[self.name]
        value = device.value(fact)
        if value is None:
            return None
        if isinstance(value, str) and fact.kind is Kind.TEXT:
            return (value == self.literal) == (self.sign == "==")
        return COMPARISONS[self.sign](_rank(fact, value), _rank(fact, self.literal))

    def told(self, device: DeviceFacts) -> str:
        """The fact's value."""
        return f"{self.name} is {_shown(device.value(FACTS[self.name]))}"

    def names(self) -> frozenset[str]:
        """The fact."""
        return frozenset({self.name})


@dataclass(frozen=True)
class OneOf(Node):
    """A fact, or the value of a tag, among several texts."""

    name: str
    key: str | None
    choices: tuple[str, ...]

    def holds(self, device: DeviceFacts) -> bool | None:
        """Whether it is one of them."""
        value = self._value(device)
        return None if value is None else value in self.choices

    def told(self, device: DeviceFacts) -> str:
        """The value."""
        named = self.name if self.key is None else f"tag {self.key!r}"
        return f"{named} is {_shown(self._value(device))}"

    def names(self) -> frozenset[str]:
        """The fact, or ``tag``."""
        return frozenset({self.name})

    def _value(self, device: DeviceFacts) -> str | float | None:
        return device.value(FACTS[self.name]) if self.key is None else device.tag(self.key)


@dataclass(frozen=True)
class Tagged(Node):
    """``tag('garden')``: it has that tag, or one of that key."""

    key: str

    def holds(self, device: DeviceFacts) -> bool | None:
        """Always known."""
        return device.tagged(self.key)

    def told(self, device: DeviceFacts) -> str:
        """Whether it has it."""
        return f"it has {'a' if device.tagged(self.key) else 'no'} tag {self.key!r}"

    def names(self) -> frozenset[str]:
        """``tag``."""
        return frozenset({"tag"})


@dataclass(frozen=True)
class TagIs(Node):
    """``tag('site') == 'north'`` or ``tag('ram_mb') >= 900``.

    Not known of a device without such a tag, nor of one whose tag is no number where a number is asked for.
    """

    key: str
    sign: str
    literal: str | float

    def holds(self, device: DeviceFacts) -> bool | None:
        """The comparison's outcome."""
        value = device.tag(self.key)
        if value is None:
            return None
        if isinstance(self.literal, str):
            return (value == self.literal) == (self.sign == "==")
        number = number_of(value)
        return None if number is None else COMPARISONS[self.sign](number, self.literal)

    def told(self, device: DeviceFacts) -> str:
        """The tag's value."""
        return f"tag {self.key!r} is {_shown(device.tag(self.key))}"

    def names(self) -> frozenset[str]:
        """``tag``."""
        return frozenset({"tag"})


@dataclass(frozen=True)
class Where:
    """A condition that was read.

    Attributes:
        text: as it was written.
        node: the tree.
    """

    text: str
    node: Node

    @property
    def names(self) -> frozenset[str]:
        """The facts that it looks at; ``tag`` stands for all tags."""
        return self.node.names()

    def chooses(self, device: DeviceFacts) -> bool:
        """Whether it is known that the device satisfies it."""
        return self.node.holds(device) is True

    def misses(self, device: DeviceFacts) -> tuple[str, ...]:
        """The parts that keep the device out, each with how it is: ``trust >= 0.8: trust is 0.5``."""
        return tuple(
            f"{self.text[slice(*part.span)]}: {part.told(device)}"
            for part in self.node.parts()
            if part.holds(device) is not True
        )


def _rank(fact: Fact, value: str | float) -> float:
    return LEVELS.index(value) if fact.kind is Kind.LEVEL and isinstance(value, str) else float(value)


def _shown(value: str | float | None) -> str:
    if value is None:
        return "not known"
    return repr(value) if isinstance(value, str) else f"{value:.4g}"


def _told_of(left: Node, right: Node, device: DeviceFacts) -> str:
    return ", ".join(dict.fromkeys((left.told(device), right.told(device))))
