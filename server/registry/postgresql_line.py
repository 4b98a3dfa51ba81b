"""The line to a PostgreSQL server: how it is made, made again when it is lost, and what is said when it cannot be."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from skerry.errors import DiskFullError, MissingDependencyError, RegistryError

__all__ = ["Line", "shown"]

T = TypeVar("T")

_PAUSES_S = (0.2, 1.0, 3.0)  # a server that restarts is back within seconds
_ENOUGH_S = 8.0  # after so long without an answer it is not asked once more
_SILENCE_S = 30.0
_CONNECT: Mapping[str, str | int] = {"connect_timeout": 5, "tcp_user_timeout": 10_000, "application_name": "skerry"}
_HINT = "see that PostgreSQL runs and answers there, and that SKERRY_REGISTRY says where it is and who asks"


class Line:
    """Makes connections to a database; none is kept.

    Attributes:
        where: the URL without a password.

    Args:
        url: of the database, with whatever libpq needs to know.
        pause: waits so many seconds before a lost connection is made again.

    Raises:
        MissingDependencyError: the driver is not installed.
    """

    def __init__(self, url: URL, pause: Callable[[float], None] = time.sleep) -> None:
        self.where = shown(url)
        self._pause = pause
        defaults = {name: value for name, value in _CONNECT.items() if name not in url.query}
        try:
            import psycopg

            self._broken = psycopg.OperationalError
            from skerry.server.registry.bounded_connection import BoundedConnection

            self._engine = create_engine(url, connect_args=defaults, poolclass=NullPool, hide_parameters=True)

            @event.listens_for(self._engine, "do_connect")
            def _connect(_dialect: object, _record: object, words: Sequence[Any], named: dict[str, Any]) -> object:
                return BoundedConnection.connect(*words, **named)
        except ImportError as error:
            raise MissingDependencyError(
                "a registry in PostgreSQL needs a package that is not installed",
                where=self.where,
                mend="pip install 'skerry[postgres]'",
            ) from error

    def open(self, silence_s: float | None = _SILENCE_S) -> Connection:
        """A connection, or the error that there is none now; it is lost when nothing comes from the server so long."""
        connection = self._engine.connect()
        driver: Any = connection.connection.driver_connection
        driver.silence_s = silence_s
        return connection

    def connect(self, silence_s: float | None = _SILENCE_S) -> Connection:
        """A connection; a server that does not answer is asked again."""
        return self.persist(lambda: self.open(silence_s))

    def persist(self, call: Callable[[], T]) -> T:
        """Do what changes nothing; again after a while if the line was lost meanwhile, for some seconds in all."""
        begun = time.monotonic()
        for pause in _PAUSES_S:
            try:
                return call()
            except DBAPIError as error:
                if not self._lost(error) or time.monotonic() - begun > _ENOUGH_S:
                    raise
            self._pause(pause)
        return call()

    @contextmanager
    def told(self) -> Iterator[None]:
        """What PostgreSQL says within the block, as one of our errors."""
        try:
            yield
        except DBAPIError as error:
            raise self._explained(error) from error

    def _explained(self, error: DBAPIError) -> DiskFullError | RegistryError:
        said = " ".join(str(error.orig).split("\n")[0].split())
        code = getattr(error.orig, "sqlstate", None)
        if code == "53100":
            return DiskFullError(
                "no space left for the registry", where=self.where, mend="free some where PostgreSQL keeps its files"
            )
        if code == "55P03":
            return RegistryError(
                "another process holds the registry", where=self.where, mend="wait for it and try again"
            )
        if self._lost(error):
            return RegistryError(
                f"the registry's database does not answer: {said}",
                where=self.where,
                mend=f"{_HINT}; if a change was under way, look whether it was taken before you repeat it",
            )
        if code in {"42501", "25006", "3F000"}:
            mend = "the role of SKERRY_REGISTRY must own its schema, and the server take writes"
            return RegistryError(f"the registry cannot be written: {said}", where=self.where, mend=mend)
        if isinstance(error.orig, self._broken):
            return RegistryError(f"the registry's database cannot be used: {said}", where=self.where, mend=_HINT)
        return RegistryError(f"the registry is damaged: {said}", where=self.where, mend="restore a copy of it")

    def _lost(self, error: DBAPIError) -> bool:
        """Whether the server went away or cannot be reached, so that asking again may help."""
        if error.connection_invalidated:
            return True
        if not isinstance(error.orig, self._broken):
            return False
        code = error.orig.sqlstate
        if code is not None:
            return code.startswith("08") or code in {"57P01", "57P02", "57P03", "53300"}
        said = str(error.orig)  # of a connection that was not made
        return "FATAL" not in said or "starting up" in said or "shutting down" in said


def shown(url: URL) -> str:
    """The URL without what is secret in it."""
    told = {name: value for name, value in url.query.items() if "password" not in name}
    return URL.create("postgresql", url.username, None, url.host, url.port, url.database, told).render_as_string()
