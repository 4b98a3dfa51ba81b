"""A process of a run's own for what its coordinator would have to load libraries for: the registry, and the report.

They take a third of a second to load. The process loads them while the run begins, and works while the run goes on.
Whatever else the run does then has the processors first, on Linux, until the process is asked for something.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skerry.canonical import decode, encode
from skerry.error_records import heard, told
from skerry.forked_pipe import ForkedPipe
from skerry.forking import Forked, end_all, fork_into
from skerry.runfolder import RunFolder

if TYPE_CHECKING:
    from skerry.server.run_registry import RegistryHere

__all__ = ["Clerk", "clerk_beside", "clerk_here", "report"]


class Clerk:
    """The process: it is asked one thing after another, by one thread at a time."""

    def __init__(self, forked: Forked) -> None:
        self._pipe = forked.pipe
        self._lock = threading.Lock()
        self._in_step = True  # nothing is under way of which the answer would be taken for another one

    def ask(self, what: str, folder: RunFolder, value: object = None) -> Any:
        """The answer, in CBOR's types; or raises what was raised there.

        Raises:
            EOFError: there is no such process any more, or Ctrl-C came while it was asked before.
        """
        question = encode([what, str(folder.path), value])
        with self._lock:
            if not self._in_step:
                raise EOFError
            self._in_step = False
            try:
                self._pipe.send_bytes(question)
                failure, answer = decode(self._pipe.recv_bytes())
            except OSError as error:  # of the pipe; what the system says to the process is in its answer
                raise EOFError from error
            self._in_step = True
        if failure is not None:
            raise heard(failure)
        return answer


_BESIDE: ContextVar[Clerk | None] = ContextVar("clerk", default=None)


def clerk_here() -> Clerk | None:
    """That of the block of :func:`clerk_beside` that this thread is in."""
    return _BESIDE.get()


@contextmanager
def clerk_beside() -> Iterator[None]:
    """For the time of a block runs of this thread have a process, which is forked now and ends with the block.

    Raises:
        RunFailedError: the system gives no process.
    """
    found: list[Forked] = []
    try:
        fork_into(found, _serve)
        token = _BESIDE.set(Clerk(found[0]))
        try:
            yield
        finally:
            _BESIDE.reset(token)
    finally:
        end_all(found)


def report(folder: RunFolder) -> None:
    """Write a run's report; see :func:`~skerry.server.report.write_report`."""
    clerk = clerk_here()
    if clerk is not None:
        try:
            clerk.ask("report", folder)
        except EOFError:
            pass  # the process is gone
        else:
            return
    _written(folder)


def _written(folder: RunFolder) -> None:
    from skerry.server.report import write_report

    write_report(folder)


def _registry(folder: RunFolder) -> "RegistryHere":
    from skerry.server.run_registry import RegistryHere

    return RegistryHere(folder)


_NEEDED = ("jinja2", "skerry.server.report", "sqlalchemy", "skerry.server.run_registry", "skerry.server.registry")
_WAY = 10  # steps of priority: a tenth of a processor that somebody else wants


def _load(asked: threading.Event) -> None:
    """Load what will be needed, a part at a time, until it is asked for; what cannot be is told to who asks.

    The priority is this thread's alone, which ends.
    """
    if sys.platform == "linux":  # elsewhere it would be the process's
        me = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, me, min(19, os.getpriority(os.PRIO_PROCESS, me) + _WAY))
    with suppress(Exception):
        for name in _NEEDED:
            if asked.is_set():
                return
            import_module(name)


def _serve(pipe: ForkedPipe) -> None:
    asked = threading.Event()
    loading = threading.Thread(target=_load, args=(asked,), daemon=True)
    loading.start()
    known: dict[str, RegistryHere] = {}
    with suppress(EOFError, OSError):  # nobody asks, or waits for an answer, any more
        while True:
            what, path, value = decode(pipe.recv_bytes())
            asked.set()
            loading.join()  # the rest is loaded here, with the priority of the run
            failure: dict[str, Any] | None = None
            answer: object = None
            try:
                folder = RunFolder(Path(path))
                if what == "report":
                    _written(folder)
                else:
                    answer = known.setdefault(path, _registry(folder)).asked(what, value)
            except Exception as error:  # noqa: BLE001 - raised where it was asked for
                failure = told(error)
            pipe.send_bytes(encode([failure, answer]))
