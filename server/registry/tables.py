"""The registry's tables, by the version of the schema that brought them, and the triggers that keep rows as they are.

Rows are only ever added: triggers in the file refuse UPDATE and DELETE, and leave a row as it is where an INSERT OR
REPLACE would put another in its place. That guards against mistakes, not against somebody who may write the file, and
with it the triggers.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    Exists,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    exists,
    literal_column,
)

__all__ = [
    "SCHEMA",
    "admissions",
    "capabilities",
    "certificates",
    "changeable",
    "create",
    "decisions",
    "departures",
    "devices",
    "enrolments",
    "erasures",
    "invite_tags",
    "invites",
    "kem_keys",
    "outcomes",
    "runs",
    "taggings",
]

_METADATA = MetaData()

devices = Table(
    "device",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, CheckConstraint("kind in ('simulated', 'real')"), nullable=False),
    Column("scope", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("first_seen", Integer, nullable=False),
    UniqueConstraint("kind", "scope", "name"),
)
runs = Table(
    "run",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("at", Integer, nullable=False),
)
# One row a device and round. Plain acceptance has no reasons and scores: it is a row of a few bytes.
outcomes = Table(
    "outcome",
    _METADATA,
    Column("device", ForeignKey("device.id"), primary_key=True),
    Column("run", ForeignKey("run.id"), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("at", Integer, nullable=False),
    Column("action", Text, nullable=False),
    Column("reasons", Text),
    Column("scores", Text),
    Column("scale", Float),
    Column("propose_revocation", Boolean),
    sqlite_with_rowid=False,
)
# The order of decisions is that of their ids.
decisions = Table(
    "decision",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("device", ForeignKey("device.id"), nullable=False),
    Column("at", Integer, nullable=False),
    Column("kind", Text, CheckConstraint("kind in ('quarantine', 'appeal')"), nullable=False),
    Column("by", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("restore", Float),
    Column("run", ForeignKey("run.id")),
    Column("round", Integer),
    UniqueConstraint("device", "run", "round"),
    sqlite_autoincrement=True,
)
# Of a token only the hash is kept.
invites = Table(
    "invite",
    _METADATA,
    Column("id", LargeBinary, primary_key=True),
    Column("federation", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("device_class", Text, nullable=False),
    Column("uses", Integer, CheckConstraint("uses > 0"), nullable=False),
    Column("approve", Boolean, nullable=False),
    Column("at", Integer, nullable=False),
    Column("expires", Integer, nullable=False),
    Column("by", Text, nullable=False),
)
# One set of keys for a name: a name whose keys were revoked may come back with others, as another row.
enrolments = Table(
    "enrolment",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("device", ForeignKey("device.id"), nullable=False, index=True),
    Column("invite", ForeignKey("invite.id"), nullable=False, index=True),
    Column("role", Text, nullable=False),
    Column("device_class", Text, nullable=False),
    Column("at", Integer, nullable=False),
    Column("request", LargeBinary, nullable=False, unique=True),
    Column("device_key", LargeBinary, nullable=False, unique=True),
    Column("signing_key", LargeBinary, nullable=False, unique=True),
)
# What became of an enrolment; the newest holds.
admissions = Table(
    "admission",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("enrolment", ForeignKey("enrolment.id"), nullable=False),
    Column("at", Integer, nullable=False),
    Column("kind", Text, CheckConstraint("kind in ('approve', 'deny', 'revoke')"), nullable=False),
    Column("by", Text, nullable=False),
    Column("why", Text, nullable=False),
    UniqueConstraint("enrolment", "kind"),
    sqlite_autoincrement=True,
)
kem_keys = Table(
    "kem_key",
    _METADATA,
    Column("enrolment", ForeignKey("enrolment.id"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("suite", Text, nullable=False),
    Column("key", LargeBinary, nullable=False, unique=True),
    Column("at", Integer, nullable=False),
    Column("expires", Integer, nullable=False),
)
# ``attempt`` is what a renewal was asked for under; an enrolment's first certificate has none.
certificates = Table(
    "certificate",
    _METADATA,
    Column("serial", LargeBinary, primary_key=True),
    Column("enrolment", ForeignKey("enrolment.id"), nullable=False, index=True),
    Column("at", Integer, nullable=False),
    Column("expires", Integer, nullable=False),
    Column("attempt", LargeBinary),
    Column("der", LargeBinary, nullable=False),
)
# What a device opens, best first, names with blanks between; the newest holds.
capabilities = Table(
    "capability",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("enrolment", ForeignKey("enrolment.id"), nullable=False, index=True),
    Column("at", Integer, nullable=False),
    Column("ciphers", Text, nullable=False),
    sqlite_autoincrement=True,
)
# What those are called who enrol by an invite, names with blanks between.
invite_tags = Table(
    "invite_tag",
    _METADATA,
    Column("invite", ForeignKey("invite.id"), primary_key=True),
    Column("tags", Text, nullable=False),
)
# What an enrolment is called, names with blanks between; the newest holds.
taggings = Table(
    "tagging",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("enrolment", ForeignKey("enrolment.id"), nullable=False, index=True),
    Column("at", Integer, nullable=False),
    Column("by", Text, nullable=False),
    Column("tags", Text, nullable=False),
    sqlite_autoincrement=True,
)
# That a device left by itself: what it signed is the evidence.
departures = Table(
    "departure",
    _METADATA,
    Column("enrolment", ForeignKey("enrolment.id"), primary_key=True),
    Column("at", Integer, nullable=False),
    Column("request", LargeBinary, nullable=False),
)
# That a device was forgotten, and not which.
erasures = Table(
    "erasure",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("device", ForeignKey("device.id"), nullable=False),
    Column("at", Integer, nullable=False),
    Column("by", Text, nullable=False),
    sqlite_autoincrement=True,
)

_BROUGHT: dict[int, tuple[Table, ...]] = {
    1: (devices, runs, outcomes, decisions),
    2: (invites, enrolments, admissions, kem_keys, certificates, erasures),
    3: (capabilities,),
    4: (invite_tags, taggings, departures),
}
SCHEMA = max(_BROUGHT)
"""The version that this skerry writes; an older one is brought up to it by :func:`create`."""


def create(base: Connection, *, have: int = 0) -> None:
    """Make the tables and triggers that later versions than ``have`` brought, and mark the file with the newest.

    Part of the caller's transaction: an old file is brought up to date whole, or stays as it is.
    """
    for version in range(have + 1, SCHEMA + 1):
        for table in _BROUGHT[version]:
            table.create(base, checkfirst=False)
            guard(base, table)
    base.exec_driver_sql(f"pragma user_version = {SCHEMA}")


def guard(base: Connection, table: Table) -> None:
    """Triggers after which rows of the table stay as they are."""
    for change in ("update", "delete"):
        _forbid(base, table, change)
    for number, taken in enumerate(_taken(table)):  # REPLACE deletes without asking the trigger above
        base.exec_driver_sql(
            f"create trigger {table.name}_no_replacement_{number} before insert on {table.name}"
            f" when {taken.compile(base)} begin select raise(ignore); end"
        )


@contextmanager
def changeable(base: Connection, *tables: Table) -> Iterator[None]:
    """Rows of the tables may be updated within the block, which is part of the caller's transaction."""
    for table in tables:
        base.exec_driver_sql(f"drop trigger {table.name}_no_update")
    yield
    for table in tables:
        _forbid(base, table, "update")


def _forbid(base: Connection, table: Table, change: str) -> None:
    base.exec_driver_sql(
        f"create trigger {table.name}_no_{change} before {change} on {table.name}"
        " begin select raise(abort, 'the registry only grows'); end"
    )


def _taken(table: Table) -> Iterator[Exists]:
    """In a trigger before an insertion: whether there is a row of the same primary key, and of each unique one."""
    for key in sorted(table.constraints, key=lambda one: type(one).__name__):
        if isinstance(key, PrimaryKeyConstraint | UniqueConstraint):
            yield exists().where(*(column == literal_column(f"new.{column.name}") for column in key.columns))
