"""All rows of a registry into an empty one: SQLite to PostgreSQL, or back as a copy for a backup."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from sqlalchemy import Connection, Integer, Table, func, insert, inspect, select
from sqlalchemy.pool import StaticPool

from skerry.errors import RegistryError
from skerry.server.registry.database import RegistryDatabase
from skerry.server.registry.file import fill, registry_engine
from skerry.server.registry.tables import METADATA

__all__ = ["file_image", "move", "rows_of"]

_BATCH = 1000
_WAL = b"\x02\x02"  # at bytes 18 and 19 of SQLite's header, as `pragma journal_mode = wal` leaves them


def move(rows: Connection, target: RegistryDatabase) -> dict[str, int]:
    """Copy a registry into one that has no rows or the same, whole or not at all; how many rows of each table.

    Args:
        rows: of the registry, in a transaction that keeps others from changing it.
        target: where they go.

    Raises:
        RegistryError: the target has other rows, or cannot be used.
    """
    with target.writing() as base:
        there = rows_of(base)
        if not any(there.values()):
            return _copy_rows(rows, base)
        if there == rows_of(rows) and _same(rows, base):
            return there
        raise RegistryError(
            "a registry is never mixed with another",
            where=target.where,
            mend="name a database, or a schema in one, that is empty",
        )


def _same(one: Connection, other: Connection) -> bool:
    """Whether two registries with as many rows have the same."""
    return all(
        mine == theirs
        for table in METADATA.sorted_tables
        for mine, theirs in zip(_rows_in_order(one, table), _rows_in_order(other, table), strict=True)
    )


def _rows_in_order(base: Connection, table: Table) -> Iterator[tuple[Any, ...]]:
    return (tuple(row) for row in base.execute(select(table).order_by(*table.primary_key.columns)))


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
