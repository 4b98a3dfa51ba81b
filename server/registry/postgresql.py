"""The registry of several machines: a PostgreSQL database, or a schema in one (``search_path``).

Whoever writes takes one lock for the whole registry, as SQLite has it: what is looked up and what is entered because of
it are never apart. A connection is made for each transaction; one that is lost before it was of use, or while it only
read, is made again.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import URL, Connection, inspect
from sqlalchemy.exc import DBAPIError

from skerry.errors import RegistryError
from skerry.server.registry.database import RegistryDatabase, newer, older
from skerry.server.registry.migrations import bring, stamp, version_of
from skerry.server.registry.postgresql_line import Line
from skerry.server.registry.tables import SCHEMA, create

__all__ = ["PostgresqlRegistry"]

T = TypeVar("T")

_LOCK = 0x736B6572  # "sker"; with the schema's name, so that several registries in one database are apart
_PATIENCE = "10s"  # for another process to end its transaction
_READ_S = 10.0  # for each answer to who only reads, a gateway among them
_WATCH_S = 4.0  # for one short answer, on which a request waits


class PostgresqlRegistry(RegistryDatabase):
    """A registry at a URL; its tables need not be there yet.

    Args:
        url: of the database, with whatever libpq needs to know.
        begun: called before anything is written, each time, once the database is known to be usable.
        pause: waits so many seconds before a lost connection is made again.
        upgrade: whether reading makes tables, or brings those of an older schema up to date.
    """

    def __init__(
        self,
        url: URL,
        *,
        begun: Callable[[], None] = lambda: None,
        pause: Callable[[float], None] = time.sleep,
        upgrade: bool = True,
    ) -> None:
        self._line = Line(url, pause)
        self.where = self._line.where
        self._begun = begun
        self._upgrade = upgrade

    def exists(self) -> bool:
        """See :class:`RegistryDatabase`."""
        with self._line.told():
            return self._line.persist(lambda: self._look(self._check)) > 0

    def ensure(self) -> None:
        """See :class:`RegistryDatabase`."""
        with self.writing():
            pass

    def read(self, work: Callable[[Connection], T]) -> T:
        """See :class:`RegistryDatabase`."""

        def current(connection: Connection) -> tuple[T] | None:
            have = self._check(connection)
            if have < SCHEMA and not self._upgrade:
                raise older(have, self.where)
            return (work(connection),) if have == SCHEMA else None

        with self._line.told():
            found = self._line.persist(lambda: self._look(current))
            if found is None:
                self.ensure()
                found = self._line.persist(lambda: self._look(current))
            assert found is not None  # nobody takes it down again while it is used
            return found[0]

    def peek(self, work: Callable[[Connection, int], T]) -> T:
        """See :class:`RegistryDatabase`."""
        with self._line.told():
            return self._line.persist(lambda: self._look(lambda base: work(base, self._check(base))))

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """See :class:`RegistryDatabase`."""
        with self._changing() as (connection, have):
            if have == 0:
                create(connection)
                stamp(connection, SCHEMA)
            elif have < SCHEMA:
                bring(connection, SCHEMA)
            yield connection

    def downgrade(self, version: int) -> None:
        """See :class:`RegistryDatabase`."""
        with self._changing() as (connection, _):
            bring(connection, version)

    def settle(self) -> None:
        """See :class:`RegistryDatabase`: tables are written anew. Its log of changes is PostgreSQL's own affair."""
        with self._line.told(), self._line.connect(silence_s=None) as connection:  # that takes as long as it takes
            tables = inspect(connection).get_table_names()
            connection.rollback()
            connection.execution_options(isolation_level="AUTOCOMMIT")
            for table in tables:
                connection.exec_driver_sql(f'vacuum full "{table}"')

    def watch(self) -> "PostgresqlWatch":
        """See :class:`RegistryDatabase`."""
        if self._upgrade:
            self.ensure()
        return PostgresqlWatch(self._line)

    def _look(self, work: Callable[[Connection], T]) -> T:
        """What that makes of one moment."""
        with self._line.open(_READ_S) as connection:
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                connection.exec_driver_sql(f"set local statement_timeout = {1000 * _READ_S:.0f}")
                return work(connection)

    @contextmanager
    def _changing(self) -> Iterator[tuple[Connection, int]]:
        """A transaction of the only writer, and the version of the schema."""
        with self._line.told(), self._line.connect() as connection, connection.begin():
            connection.exec_driver_sql(f"set local lock_timeout = '{_PATIENCE}'")
            connection.exec_driver_sql(f"select pg_advisory_xact_lock(hashtext(current_schema()), {_LOCK})")
            have = self._check(connection)
            self._begun()
            yield connection, have

    def _check(self, connection: Connection) -> int:
        """The version of the schema, which is one that we know; 0 in a database without tables."""
        try:
            version = version_of(connection)
        except ValueError:
            version = -1
        if version < 0 or (version == 0 and inspect(connection).get_table_names()):
            raise RegistryError(
                "the tables in this database are not a registry's",
                where=self.where,
                mend="give skerry a database, or a schema in one, that nothing else uses",
            )
        if version > SCHEMA:
            raise newer(version, self.where)
        return version


class PostgresqlWatch:
    """See :class:`~skerry.server.registry.database.Watch`.

    Whoever changes anything has a transaction number, so that what a snapshot says of them is another afterwards:
    ``pg_current_snapshot()`` is one short answer on a connection that stays open. Changes in other databases of the
    same server look like changes too, and cost one more reading.
    """

    at_once = False

    def __init__(self, line: Line) -> None:
        self._line = line
        self._connection: Connection | None = None
        self._seen: str | None = None

    def changed(self) -> bool:
        """See :class:`~skerry.server.registry.database.Watch`."""
        before, self._seen = self._seen, str(self._ask("select pg_current_snapshot()::text"))
        return self._seen != before

    def knows(self, name: str) -> bool:
        """See :class:`~skerry.server.registry.database.Watch`."""
        return bool(self._ask("select exists (select 1 from device where name = %s)", name))

    def close(self) -> None:
        """See :class:`~skerry.server.registry.database.Watch`."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, query: str, *values: str) -> object:
        def once() -> object:
            if self._connection is None:
                self._connection = self._line.open(_WATCH_S).execution_options(isolation_level="AUTOCOMMIT")
            try:
                return self._connection.exec_driver_sql(query, values or None).scalar_one()
            except DBAPIError:
                self.close()
                raise

        with self._line.told():
            return self._line.persist(once)
