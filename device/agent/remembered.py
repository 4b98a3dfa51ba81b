"""Which node this device was: a SuperLink refuses to activate one that it still takes for online.

So one that lost its number with the power would be shut out for as long, a minute or more: it is on stable storage.
"""

from pathlib import Path

from skerry.fsio import write_atomic

__all__ = ["RememberedNode"]


class RememberedNode:
    """A file with the node's id."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> int | None:
        """The id; None where there is none, or it cannot be read."""
        try:
            return int(self._path.read_text("ascii"))
        except (OSError, ValueError):
            return None

    def write(self, node: int) -> None:
        """Remember it."""
        write_atomic(self._path, f"{node}\n".encode())
