"""Devices, runs, what was found in their rounds, and what was decided about it."""

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Integer,
    Text,
    UniqueConstraint,
)

from skerry.server.registry.guards import guard

revision = "1"
down_revision = None

_MS = BigInteger().with_variant(Integer, "sqlite")


def upgrade() -> None:
    """Make the tables."""
    made = (
        op.create_table(
            "device",
            Column("id", Integer, primary_key=True),
            Column("kind", Text, CheckConstraint("kind in ('simulated', 'real')"), nullable=False),
            Column("scope", Text, nullable=False),
            Column("name", Text, nullable=False),
            Column("first_seen", _MS, nullable=False),
            UniqueConstraint("kind", "scope", "name"),
        ),
        op.create_table(
            "run",
            Column("id", Integer, primary_key=True),
            Column("name", Text, nullable=False, unique=True),
            Column("at", _MS, nullable=False),
        ),
        op.create_table(
            "outcome",
            Column("device", Integer, ForeignKey("device.id"), primary_key=True),
            Column("run", Integer, ForeignKey("run.id"), primary_key=True),
            Column("round", Integer, primary_key=True),
            Column("at", _MS, nullable=False),
            Column("action", Text, nullable=False),
            Column("reasons", Text),
            Column("scores", Text),
            Column("scale", Float),
            Column("propose_revocation", Boolean),
            sqlite_with_rowid=False,
        ),
        op.create_table(
            "decision",
            Column("id", Integer, primary_key=True),
            Column("device", Integer, ForeignKey("device.id"), nullable=False),
            Column("at", _MS, nullable=False),
            Column("kind", Text, CheckConstraint("kind in ('quarantine', 'appeal')"), nullable=False),
            Column("by", Text, nullable=False),
            Column("why", Text, nullable=False),
            Column("restore", Float),
            Column("run", Integer, ForeignKey("run.id")),
            Column("round", Integer),
            UniqueConstraint("device", "run", "round"),
            sqlite_autoincrement=True,
        ),
    )
    for table in made:
        guard(op.get_bind(), table)


def downgrade() -> None:
    """Drop them, newest first."""
    for table in ("decision", "outcome", "run", "device"):
        op.drop_table(table)
