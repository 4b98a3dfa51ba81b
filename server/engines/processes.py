"""Child processes that cannot outlive us.

Each child leads its own session, writes to its own log file, and is ended by its own handle together with everything it
started. Should this process die without a chance to clean up (``kill -9``), a small guard process notices that its
pipe has closed, and ends them.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from skerry.errors import MissingDependencyError, RunFailedError
from skerry.forking import signals_later

__all__ = ["Child", "Children", "end", "last_lines"]

_GRACE_S = 1.0
_NOTE_S = 2.0
_DEATH_S = 5.0
_POLL_S = 0.02


def last_lines(log: Path, count: int = 12) -> str:
    """The end of a log file, for an error message."""
    try:
        with log.open(encoding="utf-8", errors="replace") as lines:
            return "".join(deque((line for line in lines if line.strip()), maxlen=count)).strip()
    except OSError:
        return ""


def end(processes: Iterable[psutil.Process], *, grace_s: float) -> None:
    """Ask these processes to end, wait, then kill those that did not. Handles know a reused pid from their own."""
    alive = _at_work(processes)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    alive = _wait(alive, grace_s)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    _wait(alive, _DEATH_S)  # so that nobody writes any more into what the caller removes next


def _wait(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that are still at work when the time is over."""
    deadline = time.monotonic() + seconds
    while (alive := _at_work(processes)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return alive


def _at_work(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that are neither gone nor dead and only waiting for their parent to notice."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


class Child:
    """One child process and its log."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.name = name
        self.log = log
        self.process = process

    @property
    def exit_code(self) -> int | None:
        """``None`` while it runs, its negative signal when one ended it.

        To ask does not bury it: until :meth:`Children.stop` its number is given to nobody else.
        """
        if self.process.returncode is None and hasattr(os, "waitid"):
            with contextlib.suppress(ChildProcessError):
                ended = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if ended is None:
                    return None
                return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        return self.process.poll()

    def family(self) -> list[psutil.Process]:
        """Everything it started that is still its descendant."""
        with contextlib.suppress(psutil.Error):
            return list(psutil.Process(self.process.pid).children(recursive=True))
        return []

    def check(self) -> None:
        """Raise when it has ended.

        Raises:
            RunFailedError: with its exit code and the end of its log.
        """
        code = self.exit_code
        if code is not None:
            raise RunFailedError(
                f"{self.name} ended by itself (exit code {code}): {last_lines(self.log)}",
                where=str(self.log),
                mend="see the log",
            )


class Children:
    """All child processes of one block of work; leaving the block ends them."""

    def __init__(self) -> None:
        self._children: list[Child] = []
        self._family: set[psutil.Process] = set()
        self._next_note = 0.0
        self._guard = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-S", "-E", str(Path(__file__).with_name("guard.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # After a failure or Ctrl-C nobody waits, and nobody writes down that it was told to go.
            self.stop(grace_s=_GRACE_S if kind is None else 0.0)
        except BaseException:  # another Ctrl-C: those that are left are not waited for any more
            with signals_later():
                self.stop(grace_s=0.0)
            raise

    def start(self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str]) -> Child:
        """Start a command; its output is appended to ``log``.

        Raises:
            MissingDependencyError: there is no such program.
            OSError: the log cannot be written, or the system gives no process.
        """
        with log.open("ab") as output, signals_later():  # a child that nobody has noted would outlive us
            try:
                process = subprocess.Popen(  # noqa: S603 - the caller names the program
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=dict(env),
                    start_new_session=True,
                )
            except FileNotFoundError as error:
                raise MissingDependencyError(
                    f"the program {command[0]} is missing", mend="pip install 'skerry[server]'"
                ) from error
            child = Child(name, process, log)
            self._children.append(child)
            self._watch(process.pid)
        return child

    def check(self) -> None:
        """Raise when any child has ended. To be called now and then: it also takes note of what they have started."""
        for child in self._children:
            child.check()
        self.remember()

    def remember(self) -> None:
        """Note what the children have started, so that it is ended too when a child is gone before us."""
        if time.monotonic() < self._next_note:
            return
        self._next_note = time.monotonic() + _NOTE_S
        self._family.update(member for child in self._children for member in child.family())

    def stop(self, *, grace_s: float = _GRACE_S) -> None:
        """End all children and what they started, then the guard."""
        self._family.update(member for child in self._children for member in child.family())
        for child in self._children:
            if child.exit_code is None:
                with contextlib.suppress(ProcessLookupError):  # where SIGCHLD is ignored the system buries it
                    os.kill(child.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        for child in [*self._children]:
            while child.exit_code is None and time.monotonic() < deadline:
                time.sleep(_POLL_S)
            with signals_later():  # who begins anew after a Ctrl-C must not take it for one that is not buried
                # What is left of its group: while its leader is not buried, the number cannot belong to anybody else.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.process.pid, signal.SIGKILL)
                child.process.wait()
                self._children.remove(child)
        end(self._family, grace_s=_GRACE_S)  # what has left its group
        self._family.clear()
        self._dismiss()

    def _watch(self, pid: int) -> None:
        assert self._guard.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._guard.stdin.write(f"{pid}\n".encode())
            self._guard.stdin.flush()

    def _dismiss(self) -> None:
        assert self._guard.stdin is not None
        if self._guard.stdin.closed:
            return
        with contextlib.suppress(BrokenPipeError):
            self._guard.stdin.write(b"done\n")
            self._guard.stdin.close()
        self._guard.wait()
