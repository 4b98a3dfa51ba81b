"""Processes forked from this one: they work for it, share what it has loaded, and never outlive it.

Each has a pipe to this process and to nobody else. Fork early: of a process with several threads the child has one, and
what another thread held at that instant (a lock, a module half imported) stays so there for good. The streams for
output are the child's own: those of its parent may be held by a thread that waits for a slow terminal.
"""

import ctypes
import functools
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import IO, NoReturn, Self
from weakref import WeakSet

from skerry.canonical import decode, encode
from skerry.error_records import heard, told
from skerry.errors import RunFailedError
from skerry.forked_pipe import ForkedPipe

__all__ = ["Beside", "Forked", "end_all", "fork_into", "signals_later"]

_LOG = logging.getLogger(__name__)
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux' prctl
_LIBC = ctypes.CDLL(None)  # now: in a child of several threads somebody may hold what loads libraries
_HERE: WeakSet[ForkedPipe] = WeakSet()  # this process's ends of all its pipes; one that nobody has any more is closed
_ONE_AT_A_TIME = threading.RLock()  # or a child would have the other end of a pipe that another thread has just made
_PARENTS: list[object] = []  # streams that must not be closed, and so flushed, where they are nobody's any more


@dataclass(frozen=True)
class Forked:
    """A forked process, and this process's end of the pipe to it."""

    pid: int
    pipe: ForkedPipe

    def end(self, *, kill: bool = False) -> None:
        """As :func:`end_all`, of this one."""
        end_all([self], kill=kill)


def end_all(found: list[Forked], *, kill: bool = False) -> None:
    """Close the pipes, by which the processes know that nobody asks any more, and wait for their end.

    Whatever comes meanwhile, such as another Ctrl-C, those that are left are killed, and it is raised.

    Args:
        found: is empty afterwards.
        kill: do not wait for what they are at.
    """
    try:
        if kill:
            _kill(found)  # before a pipe is closed: to be asked no more is no failure that one would tell of
        _close(found)
        _wait_for(found)
    except BaseException:
        with signals_later():  # one that comes now would leave a process behind
            _kill(found)
            _close(found)
            _wait_for(found)
        raise
    finally:
        found.clear()


def _kill(found: Iterable[Forked]) -> None:
    for forked in found:
        with suppress(ChildProcessError, ProcessLookupError):
            if os.waitpid(forked.pid, os.WNOHANG) == (0, 0):  # else the number may be somebody else's
                os.kill(forked.pid, signal.SIGKILL)


def _close(found: Iterable[Forked]) -> None:
    """All pipes, before one process is waited for."""
    with _ONE_AT_A_TIME:  # what another thread forks in between would not know this end, and keep it open
        for forked in found:
            _HERE.discard(forked.pipe)
            forked.pipe.close()


def _wait_for(found: Iterable[Forked]) -> None:
    for forked in found:
        with suppress(ChildProcessError):  # gone: waited for before, or by the system, where SIGCHLD is ignored
            os.waitpid(forked.pid, 0)


def fork_into(found: list[Forked], serve: Callable[[ForkedPipe], None]) -> None:
    """Fork a process that does ``serve(its end of the pipe)`` and ends, and add it to ``found``.

    It ends with this one, even by SIGKILL: on Linux at once, and with the thread that has called this; elsewhere when
    it next looks at its pipe, which is closed then. Ctrl-C is this process's, which ends it. In the main thread no
    signal is heeded until each side knows which it is: whoever catches what a signal raises here finds in ``found`` all
    there is to end.

    Args:
        found: the new one is added.
        serve: what it does; what this raises is logged there, and ends it with code 1.

    Raises:
        RunFailedError: the system gives no process, or no pipe.
    """
    parent = os.getpid()
    _flush(sys.stdout, sys.stderr)  # what was said before comes before what the new one says
    with _ONE_AT_A_TIME, signals_later():
        try:
            mine, theirs = ForkedPipe.pair()
        except OSError as error:
            raise _refused(error) from error
        made = False
        try:
            child = os.fork()
            if child == 0:
                _live(serve, theirs, mine, parent)
            _HERE.add(mine)
            found.append(Forked(child, mine))
            made = True
        except OSError as error:
            raise _refused(error) from error
        finally:
            if os.getpid() != parent:
                os._exit(1)  # a signal came before it was heeded no more: above are the parent's frames
            theirs.close()
            if not made:
                mine.close()


class Beside:
    """Work that forked processes do while a block goes on.

    Guarantee: a block that is left as it should has waited for all of it, and raises the first failure; one that an
    exception leaves has killed the processes. Either way none of them is there any more. A Ctrl-C that comes in the
    instant in which its end is called is raised before that: a block within a block of the same work has them ended by
    the outer one. Where this process is killed
    without a chance to do so, they end with it on Linux; elsewhere they do their work to its end.
    """

    def __init__(self) -> None:
        self._found: list[Forked] = []

    def begin(self, work: Callable[[], None]) -> None:
        """Have ``work()`` done in a process of its own; what it changes in memory is not seen here.

        Raises:
            RunFailedError: the system gives no process.
        """
        fork_into(self._found, functools.partial(_do, work))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for forked in self._found:
                    _wait(forked.pipe)
        except BaseException:
            end_all(self._found, kill=True)
            raise
        end_all(self._found, kill=kind is not None)


def _do(work: Callable[[], None], pipe: ForkedPipe) -> None:
    """Do it, and tell the parent that it is done, or what it raised."""
    failure = None
    try:
        work()
    except Exception as error:  # noqa: BLE001 - it goes to the parent, who raises it where it waits for this work
        failure = told(error)
    pipe.send_bytes(encode(failure))


def _wait(pipe: ForkedPipe) -> None:
    """Wait for the end of the work; raise what it raised."""
    try:
        failure = decode(pipe.recv_bytes())
    except (EOFError, OSError) as error:
        raise RunFailedError(
            "a process that prepared the run has ended",
            mend="look for a lack of memory in the system's log, and run it again",
        ) from error
    if failure is not None:
        raise heard(failure)


def _refused(error: OSError) -> RunFailedError:
    return RunFailedError(
        f"the system does not give another process: {error.strerror}", mend="ask for fewer --processes"
    )


@contextmanager
def signals_later() -> Iterator[None]:
    """SIGINT and SIGTERM that come meanwhile are heeded afterwards, each of them whatever the other does then.

    To mask them in this thread would not do: another thread takes them, and Python runs the handler in the main one
    all the same. Elsewhere than there no handler runs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _later(signal.SIGINT), _later(signal.SIGTERM):
        yield


@contextmanager
def _later(one: signal.Signals) -> Iterator[None]:
    before = signal.getsignal(one)
    if before is None:  # a handler of C code: Python could not put it back, and it raises nothing here
        yield
        return
    came: list[int] = []
    signal.signal(one, lambda number, _: came.append(number))
    try:
        yield
    finally:
        try:
            signal.signal(one, before)
        finally:  # the handler of the other may raise here
            if came:
                os.kill(os.getpid(), one)


def _live(serve: Callable[[ForkedPipe], None], pipe: ForkedPipe, parents: ForkedPipe, parent: int) -> NoReturn:
    """The whole life of the forked process; never returns into what its parent was doing."""
    code = 1
    own: list[IO[str]] = []
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is its parent's, who ends it
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for other in (parents, *_HERE):
            other.close()
        _HERE.clear()
        own.extend(_own_streams())
        if sys.platform == "linux":
            _LIBC.prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() == parent:
            serve(pipe)
            code = 0
    except BaseException:  # noqa: BLE001 - logged, and ends the child: above are its parent's frames
        _LOG.exception("a forked process failed")
    finally:
        with suppress(Exception):
            _flush(*own)
        os._exit(code)


def _own_streams() -> Iterator[IO[str]]:
    """Where the parent's lead to; what waits in the parent's is left to it."""
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is not None:
            _PARENTS.append(stream)
            encoding = getattr(stream, "encoding", None)
            with suppress(OSError):
                own = os.fdopen(number, "w", 1, encoding=encoding, errors="backslashreplace", closefd=False)
                setattr(sys, name, own)
                yield own


def _flush(*streams: IO[str] | None) -> None:
    for stream in streams:
        with suppress(OSError, ValueError):  # nobody reads it, or it is closed
            if stream is not None:
                stream.flush()
