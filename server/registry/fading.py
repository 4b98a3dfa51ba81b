"""What evidence counts for after some time, computed by the database: nearly all rows that there are ask for it."""

from typing import Any

from sqlalchemy import Float, func
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from skerry.server.registry.reputation import DAY_MS

__all__ = ["faded"]


class faded(GenericFunction[float]):  # noqa: N801 - the name that it is called by, as SQLAlchemy's own functions are
    """``fade`` of :mod:`skerry.server.registry.reputation`: of a time in ms and a half-life in days.

    In SQLite it is that very function, which each connection is given; PostgreSQL has what it is made of.
    """

    type = Float()
    name = "fade"
    inherit_cache = True


@compiles(faded, "postgresql")
def _in_postgresql(element: faded, compiler: SQLCompiler, **options: Any) -> str:
    elapsed, half_life = element.clauses
    halvings = func.greatest(0, elapsed) / (half_life * float(DAY_MS))
    power = func.power(2.0, -func.least(halvings, 1000.0))  # PostgreSQL refuses what is too small to be told from 0
    return compiler.process(power, **options)
