"""The registry's tables as they are now; :mod:`skerry.server.registry.migrations` says how they came to be so.

Rows are only ever added; :mod:`skerry.server.registry.guards` sees to it.
"""

from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects import sqlite

from skerry.server.registry.guards import guard

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

__all__ = [
    "METADATA",
    "SCHEMA",
    "admissions",
    "capabilities",
    "certificates",
    "create",
    "decisions",
    "departures",
    "devices",
    "enrolments",
    "erasures",
    "insert_new",
    "invite_tags",
    "invites",
    "kem_keys",
    "outcomes",
    "runs",
    "taggings",
]

SCHEMA = 5
"""The version of these tables: the newest migration's."""

METADATA = MetaData()
"""All of them."""

Milliseconds = BigInteger().with_variant(Integer, "sqlite")  # where every integer has 64 bits

devices = Table(
    "device",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, CheckConstraint("kind in ('simulated', 'real')"), nullable=False),
    Column("scope", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("first_seen", Milliseconds, nullable=False),
    UniqueConstraint("kind", "scope", "name"),
)
runs = Table(
    "run",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("at", Milliseconds, nullable=False),
)
# One row a device and round. Plain acceptance has no reasons and scores: it is a row of a few bytes.
outcomes = Table(
    "outcome",
    METADATA,
    Column("device", ForeignKey("device.id"), primary_key=True),
    Column("run", ForeignKey("run.id"), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("at", Milliseconds, nullable=False),
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
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("device", ForeignKey("device.id"), nullable=False),
    Column("at", Milliseconds, nullable=False),
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
    METADATA,
    Column("id", LargeBinary, primary_key=True),
    Column("federation", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("device_class", Text, nullable=False),
    Column("uses", Integer, CheckConstraint("uses > 0"), nullable=False),
    Column("approve", Boolean, nullable=False),
    Column("at", Milliseconds, nullable=False),
    Column("expires", Milliseconds, nullable=False),
    Column("by", Text, nullable=False),
)
# One set of keys for a name: a name whose keys were revoked may come back with others, as another row.
enrolments = Table(
    "enrolment",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("device", ForeignKey("device.id"), nullable=False, index=True),
    Column("invite", ForeignKey("invite.id"), nullable=False, index=True),
    Column("role", Text, nullable=False),
    Column("device_class", Text, nullable=False),
    Column("at", Milliseconds, nullable=False),
    Column("request", LargeBinary, nullable=False, unique=True),
    Column("device_key", LargeBinary, nullable=False, unique=True),
    Column("signing_key", LargeBinary, nullable=False, unique=True),
)
# What became of an enrolment; the newest holds.
admissions = Table(
    "admission",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("enrolment", ForeignKey("enrolment.id"), nullable=False),
    Column("at", Milliseconds, nullable=False),
    Column("kind", Text, CheckConstraint("kind in ('approve', 'deny', 'revoke')"), nullable=False),
    Column("by", Text, nullable=False),
    Column("why", Text, nullable=False),
    UniqueConstraint("enrolment", "kind"),
    sqlite_autoincrement=True,
)
kem_keys = Table(
    "kem_key",
    METADATA,
    Column("enrolment", ForeignKey("enrolment.id"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("suite", Text, nullable=False),
    Column("key", LargeBinary, nullable=False, unique=True),
    Column("at", Milliseconds, nullable=False),
    Column("expires", Milliseconds, nullable=False),
)
# ``attempt`` is what a renewal was asked for under; an enrolment's first certificate has none. ``number`` counts an
# enrolment's from one.
certificates = Table(
    "certificate",
    METADATA,
    Column("serial", LargeBinary, primary_key=True),
    Column("enrolment", ForeignKey("enrolment.id"), nullable=False, index=True),
    Column("at", Milliseconds, nullable=False),
    Column("expires", Milliseconds, nullable=False),
    Column("attempt", LargeBinary),
    Column("der", LargeBinary, nullable=False),
    Column("number", Integer),
)
# What a device opens, best first, names with blanks between; the newest holds.
capabilities = Table(
    "capability",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("enrolment", ForeignKey("enrolment.id"), nullable=False, index=True),
    Column("at", Milliseconds, nullable=False),
    Column("ciphers", Text, nullable=False),
    sqlite_autoincrement=True,
)
# What those are called who enrol by an invite, names with blanks between.
invite_tags = Table(
    "invite_tag",
    METADATA,
    Column("invite", ForeignKey("invite.id"), primary_key=True),
    Column("tags", Text, nullable=False),
)
# What an enrolment is called, names with blanks between; the newest holds.
taggings = Table(
    "tagging",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("enrolment", ForeignKey("enrolment.id"), nullable=False, index=True),
    Column("at", Milliseconds, nullable=False),
    Column("by", Text, nullable=False),
    Column("tags", Text, nullable=False),
    sqlite_autoincrement=True,
)
# That a device left by itself: what it signed is the evidence.
departures = Table(
    "departure",
    METADATA,
    Column("enrolment", ForeignKey("enrolment.id"), primary_key=True),
    Column("at", Milliseconds, nullable=False),
    Column("request", LargeBinary, nullable=False),
)
# That a device was forgotten, and not which.
erasures = Table(
    "erasure",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("device", ForeignKey("device.id"), nullable=False),
    Column("at", Milliseconds, nullable=False),
    Column("by", Text, nullable=False),
    sqlite_autoincrement=True,
)


def create(base: Connection) -> None:
    """Make all tables and their guards in a database that has none, as part of the caller's transaction."""
    METADATA.create_all(base, checkfirst=False)
    for table in METADATA.sorted_tables:
        guard(base, table)


def insert_new(base: Connection, table: Table) -> "sqlite.Insert | postgresql.Insert":
    """An insertion that leaves rows which are there already as they are."""
    if base.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # loaded already where it is used; no run over a file waits for it

        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()
