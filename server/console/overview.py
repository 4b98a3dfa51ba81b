"""Everything that the console shows, as facts by key, from the folder of runs as it is now.

The source of truth is what is on disk: runs' folders, the registry, the inbox, the log. Each look asks the system which
files have changed, and reads those; so nothing is hooked into runs or servers, and a run that another process conducts
is shown like any other. What cannot be read is told as such, and hides nothing else.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from skerry.clock import Clock
from skerry.errors import InputError, SkerryError
from skerry.runfolder import RunFolder
from skerry.security.certificates import Role
from skerry.server.console.alerts import alerts
from skerry.server.console.device_facts import DeviceFacts
from skerry.server.console.federation_facts import FederationFacts
from skerry.server.console.lines import stamp
from skerry.server.console.run_facts import RunFacts
from skerry.server.registry.enrolled import State

__all__ = ["Overview"]

_NEWEST = 4  # runs that are shown, and whichever is under way

Fact = Mapping[str, Any]


class Overview:
    """Reads a folder of runs; used by one thread at a time.

    Args:
        runs: the folder.
        clock: ms since the epoch.
    """

    def __init__(self, runs: Path, clock: Clock) -> None:
        self._runs = runs
        self._clock = clock
        self._known: dict[str, RunFacts] = {}
        self._started: dict[Path, str] = {}
        self._federation = FederationFacts(runs)
        self._devices = DeviceFacts(runs, clock)

    def look(self) -> dict[str, Fact]:
        """All facts as of now."""
        facts: dict[str, Fact] = {}
        shown: list[RunFacts] = []
        for name, run in self._shown(facts).items():
            with _told(facts, f"run {name}"):
                facts |= run.look()
                shown.append(run)
        enrolled: set[str] | None = None
        with _told(facts, "the registry"):
            devices = dict(self._devices.look(shown))
            facts |= devices
            enrolled = {str(one["name"]) for one in devices.values() if _receives(one)}
        with _told(facts, "the federation's log"):
            facts |= self._federation.look(enrolled)
        return facts | dict(alerts(facts, self._clock))

    def _shown(self, facts: dict[str, Fact]) -> dict[str, RunFacts]:
        """The runs that are shown, oldest first; of one that cannot be read that is a fact."""
        order = sorted(self._begun(), key=lambda one: one[1])
        for path, _ in order:
            if path.name not in self._known:
                with _told(facts, f"run {path.name}"):
                    self._known[path.name] = RunFacts(RunFolder(path))
        readable = [self._known[path.name] for path, _ in order if path.name in self._known]
        newest = readable[-_NEWEST:]
        return {run.id: run for run in readable if run in newest or _under_way(run)}

    def _begun(self) -> Iterator[tuple[Path, str]]:
        """Each run's folder, and when it began, which is read once."""
        if not self._runs.is_dir():
            return
        for path in self._runs.iterdir():
            if path not in self._started:
                if stamp(path / "status.json") is None or stamp(path / "scenario.toml") is None:
                    continue
                with suppress(OSError, InputError):
                    self._started[path] = str(RunFolder(path).status["started"])
            if path in self._started:
                yield path, self._started[path]


def _receives(device: Fact) -> bool:
    """Whether models are for it, now."""
    return (device["enrolment"], device["role"]) == (State.ENROLLED, Role.DEVICE)


def _under_way(run: RunFacts) -> bool:
    with suppress(OSError, InputError):
        return run.under_way
    return False


@contextmanager
def _told(facts: dict[str, Fact], what: str) -> Iterator[None]:
    """What goes wrong in the block becomes a fact."""
    try:
        yield
    except (SkerryError, OSError, ValueError, KeyError, TypeError) as error:  # damaged, or of another version
        why = error.what if isinstance(error, SkerryError) else f"{type(error).__name__}: {error}"
        said = f"{what} cannot be read: {why}"
        facts[f"alert/unreadable/{what}"] = {"level": "warning", "what": said, "run": None, "device": None}
