"""What a device keeps of a repository outside the client's cache, so that wiping the cache opens nothing.

The newest root; for each role the highest version seen and by which keys; and a time floor, the latest signed time of
issue: a board without a clock that starts in 1970 still knows that it is not earlier than that.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from skerry.errors import ReleaseRefusedError
from skerry.fsio import write_json
from skerry.security.delivery.refusal import ReleaseRefusal
from skerry.security.strict import check_hex, check_integer

__all__ = ["Memory", "Seen"]

_SCHEMA = 1


@dataclass(frozen=True)
class Seen:
    """Highest version of a role's metadata, and a digest of the keys that may sign it."""

    version: int
    keys: str


@dataclass(frozen=True)
class Memory:
    """See the module.

    Attributes:
        root: the newest root, as signed; ``None`` before the first visit.
        floor_ms: ms since the epoch before which it cannot be.
        roles: role → what was seen of it.
    """

    root: bytes | None = None
    floor_ms: int = 0
    roles: Mapping[str, Seen] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Put it on stable storage."""
        assert self.root is not None
        roles = {name: [seen.version, seen.keys] for name, seen in self.roles.items()}
        write_json(path, {"schema": _SCHEMA, "root": self.root.decode(), "floor_ms": self.floor_ms, "roles": roles})

    @staticmethod
    def load(path: Path) -> "Memory":
        """What was saved; empty when nothing ever was.

        Raises:
            ReleaseRefusedError: it cannot be read (``version_state``): taking it as empty would trust anew.
        """
        try:
            value = json.loads(path.read_bytes())
            if value["schema"] != _SCHEMA:
                raise ValueError("another schema")
            check_integer(value["floor_ms"], "the time floor")
            roles = {name: Seen(*seen) for name, seen in value["roles"].items()}
            for seen in roles.values():
                check_integer(seen.version, "a version")
                check_hex(seen.keys, "a digest of keys")
            return Memory(value["root"].encode(), value["floor_ms"], roles)
        except FileNotFoundError:
            return Memory()
        except Exception as error:  # whatever is wrong with it, it is not to be trusted
            raise ReleaseRefusedError(
                ReleaseRefusal.STATE,
                "the memory of the repository cannot be read",
                where=str(path),
                mend="restore it from a backup; removing it gives up the protection against old releases once",
            ) from error
