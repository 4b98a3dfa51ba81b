"""How a registry's tables came to be as they are: Alembic's revisions, one a version of the schema, both ways.

A new registry is made from the tables as they are now and marked with the newest version; a test holds what the
migrations arrive at to it. Everything here is part of the caller's transaction, who holds the lock of writers: a
registry is brought to a version whole, by one process, or stays as it is.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from sqlalchemy import Column, Connection, MetaData, String, Table, delete, func, insert, inspect, select

from skerry.server.registry.tables import METADATA

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["OLDEST", "bring", "lost_below", "stamp", "version_of"]

OLDEST = 1
"""The version that a registry can be taken down to."""

# Alembic's own table, as it makes it; its one row names the version.
_VERSION = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True, nullable=False))

_BROUGHT: Mapping[str, int] = MappingProxyType(
    {
        "invite": 2, "enrolment": 2, "admission": 2, "kem_key": 2, "certificate": 2, "erasure": 2,
        "capability": 3,
        "invite_tag": 4, "tagging": 4, "departure": 4,
    }
)  # fmt: skip


def bring(base: Connection, version: int) -> None:
    """Run the migrations from the version that the database is marked with to another, up or down."""
    from alembic import command  # a library that nobody needs whose registry is up to date

    if version > version_of(base):
        command.upgrade(_config(base), str(version))
    else:
        command.downgrade(_config(base), str(version))


def stamp(base: Connection, version: int) -> None:
    """Mark the database with a version."""
    _VERSION.create(base, checkfirst=True)
    base.execute(delete(_VERSION))
    base.execute(insert(_VERSION), {"version_num": str(version)})


def version_of(base: Connection) -> int:
    """The version that the database is marked with; 0 where it is not.

    Raises:
        ValueError: with a mark that is none of ours.
    """
    if not inspect(base).has_table(_VERSION.name):
        return 0
    return int(base.execute(select(_VERSION.c.version_num)).scalar() or 0)


def lost_below(base: Connection, version: int) -> dict[str, int]:
    """How many rows a registry of that version has no table for, by the table's name."""
    there = set(inspect(base).get_table_names())
    rows = {
        table.name: base.execute(select(func.count()).select_from(table)).scalar_one()
        for table in METADATA.sorted_tables
        if table.name in there and _BROUGHT.get(table.name, OLDEST) > version
    }
    return {name: number for name, number in rows.items() if number}


def _config(base: Connection) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = base
    return config
