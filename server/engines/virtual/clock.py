"""A clock that jumps from event to event."""

import heapq
from typing import Generic, TypeVar

from skerry.errors import InputError

__all__ = ["EventQueue"]

T = TypeVar("T")


class EventQueue(Generic[T]):
    """Events in the order of their times; of equal times, in the order in which they were added.

    Guarantee: :attr:`now` never runs backwards, and the order of events depends on nothing but the calls.

    >>> queue = EventQueue[str]()
    >>> queue.add(2.0, "b"); queue.add(1.0, "a"); queue.add(2.0, "c")
    >>> [queue.pop() for _ in range(3)], queue.now
    (['a', 'b', 'c'], 2.0)
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        """Seconds; the time of the last event that was taken."""
        self._events: list[tuple[float, int, T]] = []
        self._added = 0

    def __len__(self) -> int:
        return len(self._events)

    def add(self, at: float, event: T) -> None:
        """Let something happen at an instant.

        Raises:
            InputError: that instant is over, or is none.
        """
        if not at >= self.now:  # NaN is not either
            raise InputError(f"an event at {at:g} s is earlier than now, {self.now:g} s")
        heapq.heappush(self._events, (at, self._added, event))
        self._added += 1

    def pop(self) -> T:
        """The next event; it is its time now.

        Raises:
            IndexError: there is none.
        """
        self.now, _, event = heapq.heappop(self._events)
        return event

    def pending(self) -> list[tuple[float, T]]:
        """The events to come and their times, in order."""
        return [(at, event) for at, _, event in sorted(self._events, key=lambda one: one[:2])]
