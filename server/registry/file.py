"""The registry's file: how it comes into being whole, is brought up to date, and what is said when it cannot be used.

SQLite in WAL mode.
"""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from skerry.errors import DiskFullError, RegistryError
from skerry.fsio import disk_errors, sync_folder
from skerry.server.registry.reputation import fade
from skerry.server.registry.tables import SCHEMA, create

__all__ = ["FILE", "RegistryFile"]

FILE = "registry.sqlite"
"""The file's name in the folder of runs."""

_APPLICATION = 0x736B6572  # "sker", in the file's header
_PATIENCE_S = 10.0  # for another process to end its transaction


class RegistryFile:
    """The file at a path, which need not exist yet.

    No connection outlives its block, so that any thread and any forked process may use it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = _engine(path)

    def ensure(self) -> None:
        """Make an empty registry where there is none; of several processes that try at once, one does.

        It is made beside and linked into place, so that whoever finds the file finds it whole.

        Raises:
            DiskFullError: no room.
            RegistryError: the folder cannot be written.
        """
        if self.path.exists():
            return
        folder = self.path.parent
        with self._told(), disk_errors(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            fd, name = tempfile.mkstemp(dir=folder, prefix=f".{self.path.name}.")
            os.close(fd)
            fresh = Path(name)
            try:
                _fill(fresh)
                with suppress(FileExistsError):
                    self.path.hardlink_to(fresh)
                sync_folder(folder)
            finally:
                fresh.unlink()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A consistent view of the registry for a block; a file of an older skerry is brought up to date first.

        Raises:
            RegistryError: it is damaged, of a newer skerry, or cannot be read.
        """
        with self._told(), self._engine.connect() as connection:
            with connection.begin():
                old = self._check(connection) < SCHEMA
            if old:
                with self.writing():
                    pass
            with connection.begin():
                yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction: all of the block is on stable storage when it is left, or none of it.

        Waits for other writers, up to ten seconds.

        Raises:
            DiskFullError: no room.
            RegistryError: it is damaged, of a newer skerry, busy for too long, or cannot be written.
        """
        with self._told(), self._engine.connect() as connection:
            connection.execution_options(begin="begin immediate")
            with connection.begin():
                have = self._check(connection)
                if have < SCHEMA:
                    create(connection, have=have)
                yield connection

    def settle(self) -> None:
        """Have nothing of what was overwritten lie in the write-ahead log, or in free pages of the file."""
        with self._told(), self._engine.connect() as connection:
            driver = connection.connection.dbapi_connection
            assert driver is not None
            for statement in ("pragma wal_checkpoint(truncate)", "vacuum", "pragma wal_checkpoint(truncate)"):
                driver.cursor().execute(statement)

    def _check(self, connection: Connection) -> int:
        """The version of the file's schema, which is one that we know."""
        application = connection.exec_driver_sql("pragma application_id").scalar_one()
        version = int(connection.exec_driver_sql("pragma user_version").scalar_one())
        if application != _APPLICATION:
            raise RegistryError("this is not a registry of skerry", where=str(self.path), mend=self._aside)
        if version > SCHEMA:
            raise RegistryError(
                f"the registry was written by a newer skerry (schema {version}; this one knows {SCHEMA})",
                where=str(self.path),
                mend="use that skerry, or another folder of runs (--runs-dir); the file was left as it is",
            )
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
                where=str(self.path),
                mend="check who may write its folder",
            ) from error

    def _explained(self, error: BaseException | None) -> DiskFullError | RegistryError:
        code, where = getattr(error, "sqlite_errorcode", 0) & 0xFF, str(self.path)  # the primary code
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


def _engine(path: Path) -> Engine:
    """Connections to a file that exists; none is kept."""
    address = f"{path.resolve().as_uri()}?mode=rw"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(address, uri=True, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False)

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)

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


def _fill(path: Path) -> None:
    """Tables, triggers and marks of a registry, in WAL mode."""
    with _engine(path).connect() as connection:
        with connection.begin():
            create(connection)
            connection.exec_driver_sql(f"pragma application_id = {_APPLICATION}")
        # A mode is set outside of transactions. It stays in the file's header.
        driver = connection.connection.dbapi_connection
        assert driver is not None
        driver.cursor().execute("pragma journal_mode = wal")
