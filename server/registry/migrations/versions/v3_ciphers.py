"""What a device opens."""

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, Text

from skerry.server.registry.guards import guard

revision = "3"
down_revision = "2"

_MS = BigInteger().with_variant(Integer, "sqlite")


def upgrade() -> None:
    """Make the table."""
    made = op.create_table(
        "capability",
        Column("id", Integer, primary_key=True),
        Column("enrolment", Integer, ForeignKey("enrolment.id"), nullable=False, index=True),
        Column("at", _MS, nullable=False),
        Column("ciphers", Text, nullable=False),
        sqlite_autoincrement=True,
    )
    guard(op.get_bind(), made)


def downgrade() -> None:
    """Drop it."""
    op.drop_table("capability")
