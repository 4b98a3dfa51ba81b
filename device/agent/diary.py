"""What the agent tells its owner: how it is, and the last things that happened, in a file that `status` reads.

Written when something happened, and otherwise once a minute while the agent is in touch: a memory card does not last
for ever. It is for people; nothing is decided by it.
"""

import json
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from skerry.clock import Clock
from skerry.errors import DiskFullError
from skerry.fsio import write_json

__all__ = ["Diary", "Entry", "Event", "read_diary"]

_KEPT = 50
_TOUCH_MS = 60_000


class Event(StrEnum):
    """What happened; stable words, for programs."""

    STARTED = "started"
    STOPPED = "stopped"
    ONLINE = "online"
    OFFLINE = "offline"
    LOST = "lost_contact"
    TRAINED = "trained"
    REFUSED = "refused"
    FAILED = "failed"
    DROPPED = "dropped"
    YIELDED = "yielded"
    PAUSED = "paused"
    RESUMED = "resumed"
    RENEWED = "renewed"
    TURNED_AWAY = "turned_away"


@dataclass(frozen=True)
class Entry:
    """One thing that happened; ``at`` in ms since the epoch."""

    at: int
    event: Event
    what: str
    reason: str = ""


class Diary:
    """The file, as the agent writes it.

    Args:
        path: of the file.
        clock: of the device.
        say: hears of every entry.
    """

    def __init__(self, path: Path, clock: Clock, say: Callable[[Entry], None]) -> None:
        self._path = path
        self._clock = clock
        self._say = say
        before = read_diary(path)
        self._entries = deque((Entry(**one) for one in before.get("entries", [])), maxlen=_KEPT)
        self.counts: dict[str, int] = {}
        """How often each thing happened since the agent was started."""
        self._contact: int | None = before.get("last_contact")
        self._written = 0

    def tell(self, event: Event, what: str, reason: str = "") -> None:
        """Something happened."""
        entry = Entry(self._clock(), event, what, reason)
        self._entries.append(entry)
        self.counts[event.value] = self.counts.get(event.value, 0) + 1
        self._write(entry.at)
        self._say(entry)

    def in_touch(self) -> None:
        """The gateway has answered."""
        now = self._contact = self._clock()
        if abs(now - self._written) >= _TOUCH_MS:
            self._write(now)

    def _write(self, now: int) -> None:
        self._written = now
        value = {
            "schema": 1,
            "last_contact": self._contact,
            "entries": [asdict(entry) for entry in self._entries],
        }
        with suppress(OSError, DiskFullError):  # a full disk does not keep the agent from what it is there for
            write_json(self._path, value, durable=False)


def read_diary(path: Path) -> dict[str, Any]:
    """What was written last; empty where there is nothing, or it cannot be read."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) and value.get("schema") == 1 else {}
