"""What a run asks of the registry of its folder of runs: here, or of its clerk (:mod:`skerry.server.run_clerk`)."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from skerry.records import Verdict
from skerry.runfolder import RunFolder
from skerry.server.run_clerk import Clerk, clerk_here

if TYPE_CHECKING:
    from skerry.server.registry import Registry, Scope

__all__ = ["Judged", "RegistryBeside", "RegistryHere", "RunRegistry", "registry_of"]


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


class RegistryHere:
    """A :class:`RunRegistry` in this process, which loads the library when it is asked for the first time."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def quarantined(self) -> set[str]:
        """See :class:`RunRegistry`."""
        return set(self._registry.quarantined(self._scope))

    def record(self, rounds: Sequence[Judged]) -> None:
        """See :class:`RunRegistry`."""
        from skerry.server.registry import JudgedRound

        self._registry.record(self._scope, self._folder.id, [JudgedRound(*one) for one in rounds])

    def asked(self, what: str, value: Any) -> object:
        """As :class:`RegistryBeside` asks."""
        if what == "quarantined":
            return sorted(self.quarantined())
        self.record([Judged(n, at, tuple(map(Verdict.from_json, verdicts))) for n, at, verdicts in value])
        return None

    @cached_property
    def _registry(self) -> "Registry":
        from skerry.server.registry import Registry

        return Registry(self._folder.path.parent)

    @cached_property
    def _scope(self) -> "Scope":
        from skerry.server.registry import run_scope

        return run_scope(self._folder)


class RegistryBeside:
    """A :class:`RunRegistry` of the clerk. Should that be gone, it is here: what was written there counts once."""

    def __init__(self, folder: RunFolder, clerk: Clerk) -> None:
        self._folder = folder
        self._clerk: Clerk | None = clerk
        self._here = RegistryHere(folder)

    def quarantined(self) -> set[str]:
        """See :class:`RunRegistry`."""
        if self._clerk is not None:
            try:
                return set(self._clerk.ask("quarantined", self._folder))
            except EOFError:
                self._clerk = None
        return self._here.quarantined()

    def record(self, rounds: Sequence[Judged]) -> None:
        """See :class:`RunRegistry`."""
        if self._clerk is not None:
            rows = [[number, at, [one.to_json() for one in verdicts]] for number, at, verdicts in rounds]
            try:
                self._clerk.ask("record", self._folder, rows)
            except EOFError:
                self._clerk = None
            else:
                return
        self._here.record(rounds)


def registry_of(folder: RunFolder) -> RunRegistry:
    """The registry for a run: its clerk's, where there is one, else this process's."""
    clerk = clerk_here()
    return RegistryHere(folder) if clerk is None else RegistryBeside(folder, clerk)
