"""A connection to PostgreSQL that does not wait for ever for a server that is there and says nothing.

TCP notices a machine that is gone, not a process that hangs on one that answers.
"""

import time
from typing import TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.rows import TupleRow
from psycopg.waiting import Ready

__all__ = ["BoundedConnection"]

T = TypeVar("T")

_INTERVAL_S = 0.1  # between looks at the clock, as psycopg has it


class BoundedConnection(psycopg.Connection[TupleRow]):
    """Closes itself when a question was not answered in time.

    Attributes:
        silence_s: longest time in which nothing comes from the server; ``None``: without end.
    """

    silence_s: float | None = 30.0

    def wait(self, gen: PQGen[T], interval: float = _INTERVAL_S, timeout: float | None = None) -> T:
        """See :meth:`psycopg.Connection.wait`, through which all that is asked goes.

        Raises:
            psycopg.OperationalError: nothing came for too long.
        """
        bounded = gen if self.silence_s is None else self._bounded(gen, self.silence_s)
        if timeout is None:
            return super().wait(bounded, interval)  # psycopg 3.2 knows no other
        return super().wait(bounded, interval, timeout)

    def _bounded(self, gen: PQGen[T], silence_s: float) -> PQGen[T]:
        try:
            wanted = next(gen)
            heard = time.monotonic()
            while True:
                ready = yield wanted
                if ready != Ready.NONE:
                    heard = time.monotonic()
                elif time.monotonic() - heard > silence_s:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"nothing came from the server for {silence_s:g} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            value: T = end.value
            return value
