"""What changed, in order: facts by key, and events that put some and drop some.

An event is known by the feed's name and its number (``<name>-<number>``). Who was cut off names the last one that it
had and gets what came after it, or everything, where that is no longer remembered or was another feed's.
"""

import asyncio
import json
import secrets
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Event", "Facts", "Feed"]

Facts = Mapping[str, Mapping[str, Any]]
"""By key, such as ``device/harbour/pi-3``; JSON values."""

_REMEMBERED = 512
_REMEMBERED_BYTES = 8 << 20


@dataclass(frozen=True)
class Event:
    """One event as it is sent: ``kind`` is ``all`` (forget what you had) or ``change``."""

    number: int
    kind: str
    data: bytes


class Feed:
    """One for a console, on its event loop; each event is encoded once, whoever looks."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(8)
        self.number = 0
        self._facts: Facts = {}
        self._past: deque[Event] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()

    def update(self, facts: Facts, at: int) -> None:
        """Take in what is known now (``at``, ms since the epoch); nothing is sent where nothing changed."""
        put = {key: value for key, value in facts.items() if self._facts.get(key) != value}
        drop = [key for key in self._facts if key not in facts]
        self._facts = facts
        if not put and not drop:
            return
        self.number += 1
        event = Event(self.number, "change", _encoded({"at": at, "put": put, "drop": drop}))
        self._past.append(event)
        self._bytes += len(event.data)
        while len(self._past) > _REMEMBERED or self._bytes > _REMEMBERED_BYTES:
            self._bytes -= len(self._past.popleft().data)
        self._changed.set()
        self._changed = asyncio.Event()

    def everything(self, at: int) -> Event:
        """All facts, for somebody who has none."""
        return Event(self.number, "all", _encoded({"at": at, "put": self._facts, "drop": []}))

    def after(self, number: int) -> list[Event] | None:
        """The events after one; ``None`` where some of them are not remembered."""
        if not 0 <= number <= self.number:
            return None
        events = [event for event in self._past if event.number > number]
        return events if len(events) == self.number - number else None

    def number_of(self, name: str) -> int | None:
        """The number in an event's name; ``None`` of another feed's, and of what is no name."""
        feed, _, number = name.partition("-")
        return int(number) if feed == self.name and number.isascii() and number.isdigit() and len(number) < 16 else None

    async def news(self, number: int) -> None:
        """Wait until there is something after an event."""
        while self.number == number:
            await self._changed.wait()


def _encoded(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
