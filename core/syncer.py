"""Writing behind: a thread of its own waits for the disk while the caller computes.

``fsync`` takes a disk's time and hardly any of a processor's. What has to be on stable storage before something
*leaves* need not be there before work on it *begins*: begin the write, work, wait for it, then let go.

The thread does next to nothing but wait. It shares the interpreter with the caller, and what ``concurrent.futures``
does around each job would cost a small computation as much as a quick disk does (0.1 ms of its time, measured).
"""

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Self

__all__ = ["Job", "Syncer"]


class Job:
    """Something under way; any number of threads may wait for it, any number of times."""

    __slots__ = ("_error", "_running")

    def __init__(self) -> None:
        self._error: BaseException | None = None
        self._running = threading.Lock()
        self._running.acquire()

    def do(self, work: Callable[..., None], *arguments: object) -> Self:
        """Do the work here and now; what it raises is kept for those who wait."""
        try:
            work(*arguments)
        except BaseException as error:  # noqa: BLE001 - kept, and raised in the thread that waits for the job
            self._error = error
        self._running.release()
        return self

    @property
    def over(self) -> bool:
        """Whether nobody would have to wait."""
        return not self._running.locked()

    def failure(self) -> BaseException | None:
        """Wait; what the work raised."""
        with self._running:
            return self._error

    def wait(self) -> None:
        """Wait; raise what the work raised."""
        failure = self.failure()
        if failure is not None:
            raise failure


_Asked = tuple[Job, Callable[..., None], tuple[object, ...]]


class Syncer:
    """Does jobs one after another, in the order in which they were begun, in a thread that its first job starts.

    Guarantee: a job's failure is raised by whoever waits for it and, once, by the next :meth:`settle`; a block that is
    left has waited for every job begun in it, whatever a Ctrl-C cut short. A forked child gets a thread of its own (its
    parent's did not come along), and none of its parent's jobs. Jobs that nobody waits for end with the process.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._process = 0
        self._queue: SimpleQueue[_Asked | None] = SimpleQueue()
        self._begun: list[Job] = []

    def begin(self, work: Callable[..., None], *arguments: object) -> Job:
        """Have ``work(*arguments)`` done."""
        job = Job()
        with self._mutex:
            if self._process != os.getpid():
                queue: SimpleQueue[_Asked | None] = SimpleQueue()
                threading.Thread(target=_serve, args=(queue,), name="syncer", daemon=True).start()
                self._queue, self._begun, self._process = queue, [], os.getpid()
            # What went well needs no memory; a device begins thousands of jobs and waits for each of them itself.
            begun = [one for one in self._begun if not one.over or one.failure() is not None]
            # First: a Ctrl-C in between may leave a job that nobody waits for, never one that nobody does.
            self._queue.put((job, work, arguments))
            self._begun = [*begun, job]
        return job

    def settle(self) -> None:
        """Return when every job begun so far is done.

        Raises:
            BaseException: the first failure since the last call.
        """
        with self._mutex:
            begun, self._begun = self._begun, []
        failures = [failure for job in begun if (failure := job.failure()) is not None]
        if failures:
            raise failures[0]

    def close(self) -> None:
        """Wait for every job and end the thread; the next :meth:`begin` starts another."""
        if self._process == os.getpid():
            last = Job()  # not those in ``_begun``: a Ctrl-C may have cut short who would have listed or awaited them
            self._queue.put((last, _nothing, ()))
            last.failure()
            self._queue.put(None)
        self._process = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if error is None:
            self.settle()


def _nothing() -> None:
    pass


def _serve(queue: "SimpleQueue[_Asked | None]") -> None:
    while (asked := queue.get()) is not None:
        job, work, arguments = asked
        job.do(work, *arguments)
