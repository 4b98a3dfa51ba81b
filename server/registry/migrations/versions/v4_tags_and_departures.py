"""What devices are called, and that they left by themselves."""

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, LargeBinary, Text

from skerry.server.registry.guards import guard

revision = "4"
down_revision = "3"

_MS = BigInteger().with_variant(Integer, "sqlite")


def upgrade() -> None:
    """Make the tables."""
    made = (
        op.create_table(
            "invite_tag",
            Column("invite", LargeBinary, ForeignKey("invite.id"), primary_key=True),
            Column("tags", Text, nullable=False),
        ),
        op.create_table(
            "tagging",
            Column("id", Integer, primary_key=True),
            Column("enrolment", Integer, ForeignKey("enrolment.id"), nullable=False, index=True),
            Column("at", _MS, nullable=False),
            Column("by", Text, nullable=False),
            Column("tags", Text, nullable=False),
            sqlite_autoincrement=True,
        ),
        op.create_table(
            "departure",
            Column("enrolment", Integer, ForeignKey("enrolment.id"), primary_key=True, autoincrement=False),
            Column("at", _MS, nullable=False),
            Column("request", LargeBinary, nullable=False),
        ),
    )
    for table in made:
        guard(op.get_bind(), table)


def downgrade() -> None:
    """Drop them."""
    for table in ("departure", "tagging", "invite_tag"):
        op.drop_table(table)
