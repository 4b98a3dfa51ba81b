"""All rows of a registry into an empty one: SQLite to PostgreSQL, or back as a copy for a backup."""

import sqlite3
from contextlib import closing

from sqlalchemy import Connection, Integer, func, insert, inspect, select
from sqlalchemy.pool import StaticPool

from skerry.errors import RegistryError
from skerry.server.registry.database import RegistryDatabase
from skerry.server.registry.file import fill, registry_engine
from skerry.server.registry.tables import METADATA

__all__ = ["file_image", "move", "rows_of"]

_BATCH = 1000
_WAL = b"\x02\x02"  # at bytes 18 and 19 of SQLite's header, as `pragma journal_mode = wal` leaves them


def move(source: RegistryDatabase, target: RegistryDatabase) -> dict[str, int]:
    """Copy a registry into one that has no rows, whole or not at all; how many rows of each table.

    Raises:
        RegistryError: the target has rows, or one of them cannot be used.
    """

    def copied(rows: Connection) -> dict[str, int]:
        with target.writing() as base:
            if any(rows_of(base).values()):
                raise RegistryError(
                    "a registry is never mixed with another",
                    where=target.where,
                    mend="name a database, or a schema in one, that is empty",
                )
            return _copy_rows(rows, base)

    return source.read(copied)


def _copy_rows(source: Connection, target: Connection) -> dict[str, int]:
    """Copy the rows of every table into tables that have none, as part of the callers' transactions."""
    for table in METADATA.sorted_tables:
        rows = source.execute(select(table).order_by(*table.primary_key.columns)).mappings()
        for batch in rows.partitions(_BATCH):
            target.execute(insert(table), [dict(row) for row in batch])
        if target.dialect.name == "postgresql" and "id" in table.c and isinstance(table.c.id.type, Integer):
            newest = select(func.max(table.c.id)).scalar_subquery()
            sequence = func.pg_get_serial_sequence(table.name, "id")
            target.execute(select(func.setval(sequence, newest)))  # of no rows: null, and as it was
    return rows_of(target)


def file_image(source: RegistryDatabase) -> bytes:
    """The registry as a file of SQLite's, as of one moment, made in memory."""
    with closing(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)) as driver:
        engine = registry_engine(lambda: driver, StaticPool)
        with engine.connect() as connection:
            fill(connection)

            def copied(rows: Connection) -> None:
                with connection.begin():
                    _copy_rows(rows, connection)

            source.read(copied)
        image = driver.serialize()
    return image[:18] + _WAL + image[20:]


def rows_of(base: Connection) -> dict[str, int]:
    """How many rows each table has, by its name; an older schema lacks some."""
    there = set(inspect(base).get_table_names())
    return {
        table.name: base.execute(select(func.count()).select_from(table)).scalar_one()
        for table in METADATA.sorted_tables
        if table.name in there
    }
