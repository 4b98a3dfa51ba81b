"""Which keys belong to which name: the only root of trust for messages."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from skerry.errors import EnvelopeRefusedError, InputError
from skerry.fsio import write_json
from skerry.security.identity.keys import PublicIdentity
from skerry.security.refusal import Refusal

__all__ = ["Directory"]

_SCHEMA = 1


class Directory:
    """Which keys belong to which name; iterates over the names, sorted.

    A name's keys never change silently: adding other keys for a known name is an error.

    Raises:
        InputError: an identity is entered under another name than its own.
    """

    def __init__(self, identities: Mapping[str, PublicIdentity] = MappingProxyType({})) -> None:
        self._known = dict(identities)
        for name, identity in self._known.items():
            if name != identity.name:
                raise InputError(f"the identity of {identity.name!r} is entered as {name!r}", where=name)

    def add(self, identity: PublicIdentity) -> None:
        """Enter an identity; the same one twice is fine.

        Raises:
            InputError: the name is known with other keys.
        """
        if self._known.setdefault(identity.name, identity) != identity:
            raise InputError("the name is known with other keys", where=identity.name)

    def get(self, name: str) -> PublicIdentity:
        """The identity of that name.

        Raises:
            EnvelopeRefusedError: nobody is known by it (``unknown_sender``).
        """
        try:
            return self._known[name]
        except KeyError:
            raise EnvelopeRefusedError(
                Refusal.UNKNOWN_SENDER, "nobody of this name is known", where=name, mend="enrol the device first"
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._known))

    def __len__(self) -> int:
        return len(self._known)

    def save(self, path: Path) -> None:
        """Write readable JSON, sorted by name, atomically."""
        write_json(path, {"schema": _SCHEMA, "identities": [self._known[name].to_json() for name in self]})

    @staticmethod
    def load(path: Path) -> "Directory":
        """Read what :meth:`save` wrote.

        Raises:
            InputError: no such file, or not a directory of identities.
        """
        directory = Directory()
        try:
            value: Any = json.loads(path.read_bytes())
            if value["schema"] != _SCHEMA:
                raise ValueError("another schema")
            for item in value["identities"]:
                directory.add(PublicIdentity.from_json(item))
        except FileNotFoundError as error:
            raise InputError("there is no directory of identities", where=str(path)) from error
        except (ValueError, KeyError, TypeError, InputError) as error:
            raise InputError(f"not a directory of identities: {error}", where=str(path)) from error
        return directory
