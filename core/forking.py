"""Processes forked from this one: they work for it, share what it has loaded, and never outlive it.

Each has a pipe to this process and to nobody else. Fork early: of a process with several threads the child has one, and
what another thread held at that instant (a lock, a module half imported) stays so there for good.
"""

import ctypes
import functools
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, NoReturn, Self

from skerry import errors
from skerry.canonical import decode, encode
from skerry.errors import RunFailedError, SkerryError

__all__ = ["Beside", "Forked", "fork_into", "heard", "told"]

_LOG = logging.getLogger(__name__)
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux' prctl


@dataclass(frozen=True)
class Forked:
    """A forked process, and this process's end of the pipe to it."""

    pid: int
    pipe: Connection

    def end(self, *, kill: bool = False) -> None:
        """Close the pipe, by which the process knows that nobody asks any more, and wait for its end.

        Args:
            kill: do not wait for what it is at.
        """
        self.pipe.close()
        if kill:
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def fork_into(found: list[Forked], serve: Callable[[Connection], None]) -> None:
    """Fork a process that does ``serve(its end of the pipe)`` and ends, and add it to ``found``.

    It ends with this one, even by SIGKILL: on Linux at once, elsewhere when it next looks at its pipe, which is closed
    then. Ctrl-C is this process's, which ends it. No signal is heeded until each side knows which it is: whoever
    catches what a signal raises here finds in ``found`` all there is to end.

    Args:
        found: processes whose pipes are not the new one's business; the new one is added.
        serve: what it does; what this raises is logged there, and ends it with code 1.

    Raises:
        RunFailedError: the system gives no process, or no pipe.
    """
    parent = os.getpid()
    try:
        mine, theirs = Pipe()
    except OSError as error:
        raise _refused(error) from error
    sys.stdout.flush()
    sys.stderr.flush()
    made = False
    with _signals_later():
        try:
            child = os.fork()
            if child == 0:
                _live(serve, theirs, (mine, *(other.pipe for other in found)), parent)
            found.append(Forked(child, mine))
            made = True
        except OSError as error:
            raise _refused(error) from error
        finally:
            theirs.close()
            if not made:
                mine.close()


class Beside:
    """Work that forked processes do while a block goes on.

    Guarantee: a block that is left as it should has waited for all of it, and raises the first failure; one that an
    exception leaves has killed the processes. Either way none of them is there any more. Where this process is killed
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
            self._end(kill=True)
            raise
        self._end(kill=kind is not None)

    def _end(self, *, kill: bool) -> None:
        for forked in self._found:
            forked.end(kill=kill)
        self._found = []


def told(error: BaseException) -> dict[str, Any]:
    """An error as a record for another process, whatever it holds.

    Of its state what CBOR does not know, such as a path or a set, goes as its words.
    """
    ours = [kind.__name__ for kind in type(error).__mro__ if getattr(errors, kind.__name__, None) is kind]
    if ours:
        return {"kind": ours[0], "state": {name: _plain(value) for name, value in error.__dict__.items()}}
    where = _plain("".join(traceback.format_exception(error)))
    if isinstance(error, OSError):
        said = [error.errno, error.strerror, error.filename] if error.errno is not None else [str(error)]
        return {"system": [_plain(one) for one in said], "fault": where}
    if isinstance(error, ModuleNotFoundError):
        return {"missing": _plain(error.name), "what": _plain(str(error)), "fault": where}
    return {"fault": where}


def heard(record: Mapping[str, Any]) -> Exception:
    """The error of :func:`told`, of the nearest class in :mod:`skerry.errors`. What the system says, and that a package
    is missing, are an OSError and a ModuleNotFoundError; another fault of the program's own is a RuntimeError. These
    have the traceback with them.
    """
    if "kind" in record:
        kind: type[SkerryError] = getattr(errors, record["kind"])
        made = kind.__new__(kind, record["state"]["what"])
        made.__dict__.update(record["state"])
        return made
    found: Exception
    where = f"in a forked process:\n{record['fault']}"
    if "system" in record:
        found = OSError(*record["system"])
    elif "missing" in record:
        found = ModuleNotFoundError(record["what"], name=record["missing"])
    else:
        return RuntimeError(where)
    found.add_note(where)
    return found


def _plain(value: object) -> object:
    """What comes out of CBOR as it went in, or the words of it."""
    try:
        return decode(encode(value))
    except Exception:  # noqa: BLE001 - whatever an encoder says of a value that it does not know
        return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def _do(work: Callable[[], None], pipe: Connection) -> None:
    """Do it, and tell the parent that it is done, or what it raised."""
    failure = None
    try:
        work()
    except Exception as error:  # noqa: BLE001 - it goes to the parent, who raises it where it waits for this work
        failure = told(error)
    pipe.send_bytes(encode(failure))


def _wait(pipe: Connection) -> None:
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
def _signals_later() -> Iterator[None]:
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


def _live(
    serve: Callable[[Connection], None], pipe: Connection, others: tuple[Connection, ...], parent: int
) -> NoReturn:
    """The whole life of the forked process; never returns into what its parent was doing."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is its parent's, who ends it
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for other in others:
            other.close()
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() == parent:
            serve(pipe)
            code = 0
    except BaseException:  # noqa: BLE001 - logged, and ends the child: above are its parent's frames
        _LOG.exception("a forked process failed")
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
