"""The registry of one machine is a file: how it comes into being whole, and what is said when it cannot be used.

SQLite in WAL mode. ``user_version`` in the file's header is the version of its schema, so that whoever opens it sees
that in one read, also a skerry that knows nothing of Alembic.
"""

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, Pool

from skerry.errors import DiskFullError, RegistryError
from skerry.fsio import disk_errors, sync_folder
from skerry.server.registry.database import RegistryDatabase, newer, older
from skerry.server.registry.migrations import bring, stamp
from skerry.server.registry.reputation import fade
from skerry.server.registry.tables import SCHEMA, create

__all__ = ["FILE", "RegistryFile", "fill", "registry_engine"]

T = TypeVar("T")

FILE = "registry.sqlite"
"""The file's name in the folder of runs."""

_APPLICATION = 0x736B6572  # "sker", in the file's header
_PATIENCE_S = 10.0  # for another process to end its transaction


class RegistryFile(RegistryDatabase):
    """The file at a path, which need not exist yet.

    Args:
        path: of the file.
        upgrade: whether reading brings an older schema up to date.
    """

    def __init__(self, path: Path, *, upgrade: bool = True) -> None:
        self.path, self.where, self._upgrade = path, str(path), upgrade
        self._engine = _engine(path)

    def exists(self) -> bool:
        """See :class:`RegistryDatabase`."""
        return self.path.exists()

    def ensure(self) -> None:
        """See :class:`RegistryDatabase`. It is made beside and linked into place: whoever finds it finds it whole."""
        if self.path.exists():
            return
        folder = self.path.parent
        with self._told(), disk_errors(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            fd, name = tempfile.mkstemp(dir=folder, prefix=f".{self.path.name}.")
            os.close(fd)
            fresh = Path(name)
            try:
                with _engine(fresh).connect() as connection:
                    fill(connection)
                    # A mode is set outside of transactions. It stays in the file's header.
                    _outside(connection, "pragma journal_mode = wal")
                with suppress(FileExistsError):
                    self.path.hardlink_to(fresh)
                sync_folder(folder)
            finally:
                fresh.unlink()

    def read(self, work: Callable[[Connection], T]) -> T:
        """See :class:`RegistryDatabase`."""
        with self._told(), self._engine.connect() as connection:
            with connection.begin():
                have = self._check(connection)
            if have < SCHEMA and not self._upgrade:
                raise older(have, self.where)
            if have < SCHEMA:
                with self.writing():
                    pass
            with connection.begin():
                return work(connection)

    def peek(self, work: Callable[[Connection, int], T]) -> T:
        """See :class:`RegistryDatabase`."""
        with self._told(), self._engine.connect() as connection, connection.begin():
            return work(connection, self._check(connection))

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """See :class:`RegistryDatabase`."""
        with self._changing() as (connection, have):
            if have < SCHEMA:
                _bring(connection, have, SCHEMA)
            yield connection

    def downgrade(self, version: int) -> None:
        """See :class:`RegistryDatabase`."""
        with self._changing() as (connection, have):
            _bring(connection, have, version)

    def settle(self) -> None:
        """See :class:`RegistryDatabase`: neither in the write-ahead log nor in free pages of the file."""
        with self._told(), self._engine.connect() as connection:
            for statement in ("pragma wal_checkpoint(truncate)", "vacuum", "pragma wal_checkpoint(truncate)"):
                _outside(connection, statement)

    def watch(self) -> "FileWatch":
        """See :class:`RegistryDatabase`."""
        return FileWatch(self.path)

    @contextmanager
    def _changing(self) -> Iterator[tuple[Connection, int]]:
        """A transaction of the only writer, and the version of the schema."""
        place = self._place()
        with self._told(), self._engine.connect() as connection:
            connection.execution_options(begin="begin immediate")
            with connection.begin():
                if self._place() != place:  # while we waited: a change would go into what nobody reads
                    raise RegistryError(
                        "the registry moved, or was replaced, meanwhile", where=self.where, mend="try again"
                    )
                yield connection, self._check(connection)

    def _place(self) -> tuple[int, int] | None:
        """Which file it is; None where there is none."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _check(self, connection: Connection) -> int:
        """The version of the file's schema, which is one that we know."""
        application = connection.exec_driver_sql("pragma application_id").scalar_one()
        version = int(connection.exec_driver_sql("pragma user_version").scalar_one())
        if application != _APPLICATION:
            raise RegistryError("this is not a registry of skerry", where=self.where, mend=self._aside)
        if version > SCHEMA:
            raise newer(version, self.where)
        return version

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What SQLite or the system says about the file, as one of our errors."""
        try:
            yield
        except DBAPIError as error:
            raise self._explained(error.orig) from error
        except sqlite3.Error as error:
            raise self._explained(error) from error
        except OSError as error:
            raise RegistryError(
                f"the registry cannot be made: {error.strerror}",
                where=self.where,
                mend="check who may write its folder",
            ) from error

    def _explained(self, error: BaseException | None) -> DiskFullError | RegistryError:
        code, where = getattr(error, "sqlite_errorcode", 0) & 0xFF, self.where  # the primary code
        if code == sqlite3.SQLITE_FULL:
            return DiskFullError("no space left on the device", where=where, mend="free some space and try again")
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return RegistryError("another process holds the registry", where=where, mend="wait for it and try again")
        if code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR}:
            mend = "check who may read and write it, and its folder"
            return RegistryError(f"the registry cannot be opened: {error}", where=where, mend=mend)
        return RegistryError(f"the registry is damaged: {error}", where=where, mend=self._aside)

    @property
    def _aside(self) -> str:
        return (
            f"move it away (`mv {self.path} {self.path}.old`) or restore a copy; the next run begins a new one, "
            "and the runs' own folders are not touched by any of this"
        )


class FileWatch:
    """See :class:`~skerry.server.registry.database.Watch`.

    SQLite tells on a connection that stays open whether anybody else changed the file (``PRAGMA data_version``); the
    file system, whether another was put in its place, as a restored copy is.
    """

    at_once = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: int | None = None
        with self._told():
            self._open()

    def changed(self) -> bool:
        """See :class:`~skerry.server.registry.database.Watch`."""
        with self._told():
            if self._place() != self._opened:
                self._connection.close()
                self._open()
            ((version,),) = self._connection.execute("PRAGMA data_version").fetchall()
        before, self._version = self._version, version
        return bool(version != before)

    def knows(self, name: str) -> bool:
        """See :class:`~skerry.server.registry.database.Watch`."""
        with self._told():
            return self._connection.execute("SELECT 1 FROM device WHERE name = ?", (name,)).fetchone() is not None

    def close(self) -> None:
        """See :class:`~skerry.server.registry.database.Watch`."""
        self._connection.close()

    def _open(self) -> None:
        place = self._place()
        self._connection = sqlite3.connect(
            f"{self._path.resolve().as_uri()}?mode=rw", uri=True, check_same_thread=False, isolation_level=None
        )
        self._opened = place  # last: if that failed, the next call tries again
        self._version = None

    def _place(self) -> tuple[int, int]:
        """Which file it is."""
        found = self._path.stat()
        return found.st_dev, found.st_ino

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise RegistryError(f"the registry cannot be read: {error}", where=str(self._path)) from error


def registry_engine(connect: Callable[[], sqlite3.Connection], pool: type[Pool] = NullPool) -> Engine:
    """SQLite as a registry needs it; ``connect`` gives connections without transactions of their own."""
    engine = create_engine("sqlite://", creator=connect, poolclass=pool)

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("pragma foreign_keys = on")
        connection.execute("pragma secure_delete = on")  # what is forgotten is overwritten
        connection.execute("pragma synchronous = full")  # in WAL mode a commit is durable with this only
        connection.create_function("fade", 2, fade, deterministic=True)

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "begin"))

    return engine


def fill(connection: Connection) -> None:
    """Tables, triggers and marks of a registry, in a database that has nothing."""
    with connection.begin():
        create(connection)
        stamp(connection, SCHEMA)
        connection.exec_driver_sql(f"pragma user_version = {SCHEMA}")
        connection.exec_driver_sql(f"pragma application_id = {_APPLICATION}")


def _engine(path: Path) -> Engine:
    """Connections to a file that exists; none is kept."""
    address = f"{path.resolve().as_uri()}?mode=rw"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(address, uri=True, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False)

    return registry_engine(connect)


def _bring(connection: Connection, have: int, version: int) -> None:
    """Bring a file from one version to another, whole or not at all: part of the caller's transaction."""
    stamp(connection, have)  # a skerry without Alembic may have brought it there
    bring(connection, version)
    connection.exec_driver_sql(f"pragma user_version = {version}")


def _outside(connection: Connection, statement: str) -> None:
    """Run what SQLite runs outside of transactions only."""
    driver = connection.connection.dbapi_connection
    assert driver is not None
    driver.cursor().execute(statement)
