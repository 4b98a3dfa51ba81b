"""What a run asks of the registry of its folder of runs: here, or of a process that was forked for it.

The registry's library takes a third of a second to load. A process of its own loads it while the run begins, and writes
while the run goes on.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from skerry.canonical import decode, encode
from skerry.forking import Forked, fork_into, heard, told
from skerry.records import Verdict
from skerry.runfolder import RunFolder

if TYPE_CHECKING:
    from skerry.server.registry import Registry, Scope

__all__ = ["Judged", "RunRegistry", "registry_beside", "registry_of"]


class Judged(NamedTuple):
    """A finished round: its number, when it ended (ms since the epoch), and the verdicts on all its devices."""

    number: int
    at: int
    verdicts: tuple[Verdict, ...]


class RunRegistry(Protocol):
    """The registry, as one run uses it."""

    def quarantined(self) -> set[str]:
        """Names of the run's scope that are in quarantine.

        Raises:
            RegistryError: it cannot be read.
        """
        ...

    def record(self, rounds: Sequence[Judged]) -> None:
        """Take in rounds, all of them or none; what is known already is left as it is.

        Raises:
            RegistryError, DiskFullError: it cannot be written.
        """
        ...


class _Here:
    """In this process, which loads the library when it is asked for the first time."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def quarantined(self) -> set[str]:
        return set(self._registry.quarantined(self._scope))

    def record(self, rounds: Sequence[Judged]) -> None:
        from skerry.server.registry import JudgedRound

        self._registry.record(self._scope, self._folder.id, [JudgedRound(*one) for one in rounds])

    @cached_property
    def _registry(self) -> "Registry":
        from skerry.server.registry import Registry

        return Registry(self._folder.path.parent)

    @cached_property
    def _scope(self) -> "Scope":
        from skerry.server.registry import run_scope

        return run_scope(self._folder)


class _Process:
    """A forked process that is asked one thing after another, by one thread at a time."""

    def __init__(self, forked: Forked) -> None:
        self._pipe = forked.pipe
        self._lock = threading.Lock()
        self._in_step = True  # nothing is under way of which the answer would be taken for another one

    def ask(self, path: Path, rounds: Sequence[Judged] | None = None) -> list[str]:
        """Names in quarantine; or none, when these rounds are recorded. Raises what that raises.

        Raises:
            EOFError, ConnectionError: there is no such process any more, or Ctrl-C came while it was asked before.
        """
        with self._lock:
            if not self._in_step:
                raise EOFError
            self._in_step = False
            rows = None if rounds is None else [[n, at, [one.to_json() for one in all_]] for n, at, all_ in rounds]
            self._pipe.send_bytes(encode([str(path), rows]))
            failure, names = decode(self._pipe.recv_bytes())
            self._in_step = True
        if failure is not None:
            raise heard(failure)
        return list(names)


class _Beside:
    """In the process that was forked for it. Should that be gone, here: what it had written counts once."""

    def __init__(self, folder: RunFolder, process: _Process) -> None:
        self._folder = folder
        self._process: _Process | None = process
        self._here = _Here(folder)

    def quarantined(self) -> set[str]:
        if self._process is not None:
            try:
                return set(self._process.ask(self._folder.path))
            except (EOFError, ConnectionError):
                self._process = None
        return self._here.quarantined()

    def record(self, rounds: Sequence[Judged]) -> None:
        if self._process is not None:
            try:
                self._process.ask(self._folder.path, rounds)
            except (EOFError, ConnectionError):
                self._process = None
            else:
                return
        self._here.record(rounds)


_BESIDE: ContextVar[_Process | None] = ContextVar("registry_beside", default=None)


def registry_of(folder: RunFolder) -> RunRegistry:
    """The registry for a run: that of a process of its own within :func:`registry_beside`, else of this one."""
    process = _BESIDE.get()
    return _Here(folder) if process is None else _Beside(folder, process)


@contextmanager
def registry_beside() -> Iterator[None]:
    """For the time of a block runs of this thread have their registry in a process forked now, ended with the block.

    Raises:
        RunFailedError: the system gives no process.
    """
    found: list[Forked] = []
    try:
        fork_into(found, _serve)
        token = _BESIDE.set(_Process(found[0]))
        try:
            yield
        finally:
            _BESIDE.reset(token)
    finally:
        for forked in found:
            forked.end()


def _serve(pipe: Connection) -> None:
    import skerry.server.registry  # noqa: F401 - loaded before anybody asks

    known: dict[str, _Here] = {}
    while True:
        try:
            path, rows = decode(pipe.recv_bytes())
        except EOFError:
            return
        here = known.setdefault(path, _Here(RunFolder(Path(path))))
        failure: dict[str, Any] | None = None
        names: list[str] = []
        try:
            if rows is None:
                names = sorted(here.quarantined())
            else:
                here.record([Judged(n, at, tuple(map(Verdict.from_json, all_))) for n, at, all_ in rows])
        except Exception as error:  # noqa: BLE001 - raised where it was asked for
            failure = told(error)
        pipe.send_bytes(encode([failure, names]))
