"""Files that grow while somebody reads them, each byte read once, and files that are replaced, read when they were."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

__all__ = ["GrowingLines", "WhenChanged", "stamp"]

T = TypeVar("T")

Stamp = tuple[int, int, int]


def stamp(path: Path) -> Stamp | None:
    """What changes whenever a file is written or replaced; ``None`` where there is none."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


class GrowingLines:
    """The records of a JSON-lines file, taken in as they are added.

    Attributes:
        records: all that were read; a line that is still being written is left for later.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: Stamp | None = None
        self._read = 0
        self.records: list[dict[str, Any]] = []

    def look(self) -> bool:
        """Whether there is something new; a file that was replaced or cut is read from its beginning."""
        found = stamp(self._path)
        if found == self._stamp:
            return False
        if found is None or self._stamp is None or found[0] != self._stamp[0] or found[1] < self._read:
            self._read, self.records = 0, []
        if found is not None:
            with self._path.open("rb") as file:
                file.seek(self._read)
                whole = file.read().rpartition(b"\n")[0]
            fresh = [json.loads(line) for line in whole.split(b"\n") if line]
            self.records.extend(fresh)
            self._read += len(whole) + bool(whole)
        self._stamp = found  # last: what cannot be read is tried again, and told again
        return True


class WhenChanged(Generic[T]):
    """What was made of some files, made anew when one of them has changed.

    Args:
        make: reads them.
        paths: that it reads.
    """

    def __init__(self, make: Callable[[], T], *paths: Path) -> None:
        self._make = make
        self._paths = paths
        self._stamps: tuple[Stamp | None, ...] | None = None
        self._made: T | None = None

    def look(self) -> tuple[T, bool]:
        """What there is, and whether it was made anew."""
        stamps = tuple(map(stamp, self._paths))  # before reading: what is written meanwhile is read the next time
        if stamps == self._stamps and self._made is not None:
            return self._made, False
        made = self._make()
        self._made, self._stamps = made, stamps
        return made, True
