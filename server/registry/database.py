"""A registry's database as everything else sees it: transactions, and one kind of error when they cannot be had.

:mod:`~skerry.server.registry.file` is the one of a single machine (SQLite), :mod:`~skerry.server.registry.postgresql`
that of several; :mod:`~skerry.server.registry.place` says which a folder of runs has.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from skerry.errors import RegistryError
from skerry.server.registry.tables import SCHEMA

__all__ = ["RegistryDatabase", "Watch", "newer", "older"]

T = TypeVar("T")


class Watch(Protocol):
    """Tells on a connection that stays open whether anything changed; not safe for threads.

    Each call raises RegistryError when the database cannot be read.
    """

    at_once: bool
    """Whether :meth:`changed` needs nothing but this machine's memory and file system."""

    def changed(self) -> bool:
        """Whether anybody may have changed anything since this was last asked; at first: yes."""
        ...

    def knows(self, name: str) -> bool:
        """Whether there is a device of that name, whatever its scope."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class RegistryDatabase(ABC):
    """Where rows are kept. No connection outlives a call or a block: any thread and any forked process may use it.

    Attributes:
        where: what people are told it is; without a password.
    """

    where: str

    @abstractmethod
    def exists(self) -> bool:
        """Whether there may be something to read; where there is not, nothing was ever written."""

    @abstractmethod
    def ensure(self) -> None:
        """Make an empty registry where there is none; of several processes that try at once, one does.

        Raises:
            DiskFullError: no room.
            RegistryError: it cannot be made.
        """

    @abstractmethod
    def read(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` makes of a consistent view.

        A registry of an older skerry is brought up to date first, by whoever may: who only looks at a registry
        (``upgrade=False``) is refused instead, as what was taken down for an older skerry is to stay there.

        Args:
            work: only reads. It may be called again, where a connection was lost.

        Raises:
            RegistryError: it is damaged, of a newer skerry, or cannot be read; or of an older one, for who only looks.
        """

    @abstractmethod
    def peek(self, work: Callable[[Connection, int], T]) -> T:
        """As :meth:`read`, of whatever schema it has, which is left as it is: ``work`` gets its version too."""

    @abstractmethod
    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction: all of the block is on stable storage when it is left, or none of it.

        One at a time: whoever is in such a block sees all that was written before, and waits up to ten seconds for
        others.

        Raises:
            DiskFullError: no room.
            RegistryError: it is damaged, of a newer skerry, busy for too long, or cannot be written.
        """

    @abstractmethod
    def downgrade(self, version: int) -> None:
        """Take the registry down to an older version of its schema, with the loss of what that has no table for.

        Raises:
            RegistryError: as :meth:`writing`.
        """

    @abstractmethod
    def settle(self) -> None:
        """Have nothing of what was overwritten lie in the database's own files."""

    @abstractmethod
    def watch(self) -> Watch:
        """See :class:`Watch`.

        Raises:
            RegistryError: it cannot be read.
        """


def older(version: int, where: str) -> RegistryError:
    """The refusal to bring a registry up to date for somebody who only looks."""
    return RegistryError(
        f"older schema: the registry has {version}, this skerry reads {SCHEMA}",
        where=where,
        mend="the next server, run or decision of this skerry brings it up to date; what only looks leaves it as it is",
    )


def newer(version: int, where: str) -> RegistryError:
    """The refusal of a registry that a later skerry wrote."""
    return RegistryError(
        f"the registry was written by a newer skerry (schema {version}; this one knows {SCHEMA})",
        where=where,
        mend="use that skerry, also to take the registry down to an older schema (`skerry server registry downgrade`), "
        "or another folder of runs (--runs-dir); it was left as it is",
    )
