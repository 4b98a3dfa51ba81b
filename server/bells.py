"""A word from one process of this machine to another that it is worth asking now: a file that changes.

The coordinator rings for nodes that it has sent something, the gateway for nodes that have answered. Who waits looks at
the file's state fifty to a hundred times a second, which takes microseconds, where a question to the SuperLink takes
milliseconds of the one processor that everybody waits for. A ring that is lost costs time and nothing else: whoever
waits asks now and then all the same.
"""

import json
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from skerry.errors import DiskFullError
from skerry.fsio import write_atomic

__all__ = ["NEVER", "Belfry", "Bells", "Rope"]

NEVER: Final = "0"


class Bells:
    """Where the bells of a federation hang.

    Args:
        folder: closed to others; made when somebody rings.
    """

    def __init__(self, folder: Path) -> None:
        self.asked = folder / "asked.json"
        """Rung for nodes that were sent a message."""
        self.answered = folder / "answered.json"
        """Rung for nodes of which an answer has come whole."""


class Rope:
    """Rings; of one bell there is one ringer at a time.

    Args:
        path: of the bell.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._strokes: dict[str, str] = {}

    def ring(self, nodes: Iterable[int]) -> None:
        """Ring for these nodes."""
        stroke = secrets.token_hex(8)
        self._strokes |= {str(node): stroke for node in nodes}
        with suppress(DiskFullError, OSError):  # nobody relies on it
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomic(self._path, json.dumps(self._strokes).encode(), mode=0o600, durable=False)


class Belfry:
    """Hears one bell.

    Args:
        path: of the bell; it need not have been rung.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._strokes: Mapping[str, str] = {}
        self.changed()

    def changed(self) -> bool:
        """Whether it was rung since this was asked last."""
        try:
            found = self._path.stat()
            state = found.st_ino, found.st_mtime_ns
            if state == self._seen:
                return False
            strokes = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return False
        self._seen, self._strokes = state, strokes if isinstance(strokes, dict) else {}
        return True

    def last(self, node: int) -> str:
        """What the last ring for a node is known by; :data:`NEVER` when there was none."""
        return str(self._strokes.get(str(node), NEVER))
