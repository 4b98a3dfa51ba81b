"""Writing behind: a thread of its own waits for the disk while the caller computes.

``fsync`` takes a disk's time and hardly any of a processor's. What has to be on stable storage before something
*leaves* need not be there before work on it *begins*: begin the write, work, wait for it, then let go.
"""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

__all__ = ["Syncer"]


class Syncer:
    """Does jobs one after another, in the order in which they were begun, in a thread that its first job starts.

    Guarantee: a job's failure is raised by whoever waits for its future and, once, by the next :meth:`settle`; a block
    that is left has waited for every job begun in it. A forked child has a thread of its own (its parent's did not
    come along), and none of its parent's jobs.
    """

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0
        self._begun: list[Future[None]] = []

    def begin(self, job: Callable[..., None], *arguments: object) -> "Future[None]":
        """Have ``job(*arguments)`` done; what it raises is kept for whoever waits for it."""
        if self._pool is None or self._process != os.getpid():
            self._pool, self._process, self._begun = ThreadPoolExecutor(1, "syncer"), os.getpid(), []
        future = self._pool.submit(job, *arguments)
        # What went well needs no memory; a device begins thousands of jobs and waits for each of them itself.
        self._begun = [one for one in self._begun if not _went_well(one)]
        self._begun.append(future)
        return future

    def settle(self) -> None:
        """Return when every job begun so far is done.

        Raises:
            Exception: the first failure since the last call.
        """
        begun, self._begun = self._begun, []
        failures = [failure for one in begun if (failure := one.exception()) is not None]
        if failures:
            raise failures[0]

    def close(self) -> None:
        """Wait for every job and end the thread; the next :meth:`begin` starts another."""
        if self._pool is not None and self._process == os.getpid():
            self._pool.shutdown()
        self._pool = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if error is None:
            self.settle()


def _went_well(future: "Future[None]") -> bool:
    return future.done() and future.exception() is None
