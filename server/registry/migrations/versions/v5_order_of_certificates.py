"""An enrolment's certificates are counted: SQLite's row numbers told their order, and no other database has them."""

from alembic import op
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    literal_column,
    select,
    update,
)

from skerry.server.registry.guards import changeable

revision = "5"
down_revision = "4"

_CERTIFICATES = Table(
    "certificate",
    MetaData(),
    Column("serial", LargeBinary, primary_key=True),
    Column("enrolment", Integer),
    Column("at", BigInteger),
    Column("number", Integer),
)


def upgrade() -> None:
    """Count those that are there in the order that they were told to be in until now."""
    base, table = op.get_bind(), _CERTIFICATES
    op.add_column(table.name, Column("number", Integer))
    entered: ColumnElement[int] = literal_column("rowid" if base.dialect.name == "sqlite" else "serial")
    rows = base.execute(select(table.c.serial, table.c.enrolment).order_by(table.c.at, entered)).all()
    counted: dict[int, int] = {}
    with changeable(base, table):
        for row in rows:
            counted[row.enrolment] = counted.get(row.enrolment, 0) + 1
            number = counted[row.enrolment]
            base.execute(update(table).where(table.c.serial == row.serial).values(number=number))


def downgrade() -> None:
    """Leave the numbers out; the order is told by the time of issue again."""
    op.drop_column("certificate", "number")
