"""Rows of the registry are only ever added: triggers in the database refuse to change and to delete them.

In SQLite they also leave a row as it is where an INSERT OR REPLACE would put another in its place; PostgreSQL has no
such statement, but TRUNCATE, which is refused too. That guards against mistakes, not against somebody who may write the
database, and with it the triggers.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Exists, PrimaryKeyConstraint, Table, UniqueConstraint, exists, literal_column

__all__ = ["changeable", "guard"]

_SAID = "the registry only grows"


def guard(base: Connection, table: Table) -> None:
    """Triggers after which rows of the table stay as they are."""
    for change in ("update", "delete"):
        _forbid(base, table, change)
    if _postgresql(base):
        base.exec_driver_sql(
            f"create trigger {table.name}_no_truncate before truncate on {table.name}"
            " for each statement execute function registry_only_grows()"
        )
        return
    for number, taken in enumerate(_taken(table)):  # REPLACE deletes without asking the trigger above
        base.exec_driver_sql(
            f"create trigger {table.name}_no_replacement_{number} before insert on {table.name}"
            f" when {taken.compile(base)} begin select raise(ignore); end"
        )


@contextmanager
def changeable(base: Connection, *tables: Table) -> Iterator[None]:
    """Rows of the tables may be updated within the block, which is part of the caller's transaction."""
    for table in tables:
        of = f" on {table.name}" if _postgresql(base) else ""
        base.exec_driver_sql(f"drop trigger {table.name}_no_update{of}")
    yield
    for table in tables:
        _forbid(base, table, "update")


def _forbid(base: Connection, table: Table, change: str) -> None:
    trigger = f"create trigger {table.name}_no_{change} before {change} on {table.name}"
    if _postgresql(base):
        base.exec_driver_sql(
            "create or replace function registry_only_grows() returns trigger language plpgsql as"
            f" $$ begin raise exception '{_SAID}' using errcode = 'restrict_violation'; end $$"
        )
        base.exec_driver_sql(f"{trigger} for each row execute function registry_only_grows()")
    else:
        base.exec_driver_sql(f"{trigger} begin select raise(abort, '{_SAID}'); end")


def _postgresql(base: Connection) -> bool:
    return base.dialect.name == "postgresql"


def _taken(table: Table) -> Iterator[Exists]:
    """In a trigger before an insertion: whether there is a row of the same primary key, and of each unique one."""
    for key in sorted(table.constraints, key=lambda one: type(one).__name__):
        if isinstance(key, PrimaryKeyConstraint | UniqueConstraint):
            yield exists().where(*(column == literal_column(f"new.{column.name}") for column in key.columns))
