"""Who is invited and enrolled, with which keys and certificates; and that names were erased."""

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
)

from skerry.server.registry.guards import guard

revision = "2"
down_revision = "1"

_MS = BigInteger().with_variant(Integer, "sqlite")


def upgrade() -> None:
    """Make the tables."""
    made = (
        op.create_table(
            "invite",
            Column("id", LargeBinary, primary_key=True),
            Column("federation", Text, nullable=False),
            Column("role", Text, nullable=False),
            Column("device_class", Text, nullable=False),
            Column("uses", Integer, CheckConstraint("uses > 0"), nullable=False),
            Column("approve", Boolean, nullable=False),
            Column("at", _MS, nullable=False),
            Column("expires", _MS, nullable=False),
            Column("by", Text, nullable=False),
        ),
        op.create_table(
            "enrolment",
            Column("id", Integer, primary_key=True),
            Column("device", Integer, ForeignKey("device.id"), nullable=False, index=True),
            Column("invite", LargeBinary, ForeignKey("invite.id"), nullable=False, index=True),
            Column("role", Text, nullable=False),
            Column("device_class", Text, nullable=False),
            Column("at", _MS, nullable=False),
            Column("request", LargeBinary, nullable=False, unique=True),
            Column("device_key", LargeBinary, nullable=False, unique=True),
            Column("signing_key", LargeBinary, nullable=False, unique=True),
        ),
        op.create_table(
            "admission",
            Column("id", Integer, primary_key=True),
            Column("enrolment", Integer, ForeignKey("enrolment.id"), nullable=False),
            Column("at", _MS, nullable=False),
            Column("kind", Text, CheckConstraint("kind in ('approve', 'deny', 'revoke')"), nullable=False),
            Column("by", Text, nullable=False),
            Column("why", Text, nullable=False),
            UniqueConstraint("enrolment", "kind"),
            sqlite_autoincrement=True,
        ),
        op.create_table(
            "kem_key",
            Column("enrolment", Integer, ForeignKey("enrolment.id"), primary_key=True),
            Column("epoch", Integer, primary_key=True),
            Column("suite", Text, nullable=False),
            Column("key", LargeBinary, nullable=False, unique=True),
            Column("at", _MS, nullable=False),
            Column("expires", _MS, nullable=False),
        ),
        op.create_table(
            "certificate",
            Column("serial", LargeBinary, primary_key=True),
            Column("enrolment", Integer, ForeignKey("enrolment.id"), nullable=False, index=True),
            Column("at", _MS, nullable=False),
            Column("expires", _MS, nullable=False),
            Column("attempt", LargeBinary),
            Column("der", LargeBinary, nullable=False),
        ),
        op.create_table(
            "erasure",
            Column("id", Integer, primary_key=True),
            Column("device", Integer, ForeignKey("device.id"), nullable=False),
            Column("at", _MS, nullable=False),
            Column("by", Text, nullable=False),
            sqlite_autoincrement=True,
        ),
    )
    for table in made:
        guard(op.get_bind(), table)


def downgrade() -> None:
    """Drop them, newest first."""
    for table in ("erasure", "certificate", "kem_key", "admission", "enrolment", "invite"):
        op.drop_table(table)
