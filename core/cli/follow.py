"""Following a run by its folder: every engine writes the same files, so nothing is hooked into the server."""

import json
import statistics
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from skerry.clock import Clock
from skerry.config import Scenario
from skerry.records import RoundRecord
from skerry.runfolder import RunFolder

__all__ = ["Follower", "RunWatch", "Snapshot", "View"]

PACE_ROUNDS = 5  # the time left is told from the last few rounds: the first one carries start-up costs


@dataclass(frozen=True)
class Snapshot:
    """What is known of a run at one moment; ``rounds`` holds the finished ones, seconds are wall-clock."""

    run: str
    engine: str
    scenario: Scenario
    state: str
    stage: str
    rounds: tuple[RoundRecord, ...]
    base_accuracy: float | None
    elapsed_s: float
    left_s: float | None
    notices: tuple[str, ...] = ()

    @property
    def last(self) -> RoundRecord | None:
        """The newest finished round."""
        return self.rounds[-1] if self.rounds else None

    @property
    def flagged(self) -> tuple[str, ...]:
        """Devices flagged in the newest round, or in quarantine."""
        last = self.last
        return tuple(sorted({*last.flagged, *last.extra.get("quarantined", ())})) if last else ()


class View(Protocol):
    """Something that shows snapshots."""

    def show(self, snapshot: Snapshot) -> None:
        """Called several times a second, from one thread."""

    def close(self) -> None:
        """Called once, after the last snapshot."""


class RunWatch:
    """Reads what a running run has added to its folder since the last look."""

    def __init__(self, folder: RunFolder, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._scenario = folder.scenario
        self._rounds: list[RoundRecord] = []
        self._read = 0

    def look(self) -> Snapshot:
        """The state at this moment; a line that is still being written waits for the next look."""
        status = self._folder.status
        self._rounds.extend(RoundRecord.from_json(json.loads(line)) for line in self._fresh())
        started = datetime.fromisoformat(status["started"]).timestamp()
        base = status.get("base_accuracy")
        return Snapshot(
            run=self._folder.id,
            engine=status["engine"],
            scenario=self._scenario,
            state=status["state"],
            stage=status["stage"],
            rounds=tuple(self._rounds),
            base_accuracy=base if isinstance(base, float) else None,
            elapsed_s=max(0.0, self._clock() / 1000 - started),
            left_s=self._left(status["state"]),
            notices=self._folder.notices,
        )

    def _fresh(self) -> list[bytes]:
        path: Path = self._folder.path / "rounds.jsonl"
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(self._read)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        return whole.split(b"\n") if newline else []

    def _left(self, state: str) -> float | None:
        ends = [record.finished_ms for record in self._rounds[-PACE_ROUNDS - 1 :]]
        if state != "running" or len(ends) < 2:
            return None
        pace = statistics.median(b - a for a, b in pairwise(ends)) / 1000
        since = self._clock() / 1000 - ends[-1] / 1000
        return max(0.0, pace * (self._scenario.rounds - len(self._rounds)) - max(0.0, since))


class Follower:
    """Shows a run while the main thread is busy with it; give :meth:`watch` to the launcher as its ``on_folder``."""

    def __init__(self, view: View, clock: Clock, *, every_s: float = 0.2) -> None:
        self._view = view
        self._clock = clock
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.folder: RunFolder | None = None
        self.fault: Exception | None = None

    def watch(self, folder: RunFolder) -> None:
        """Start showing this run."""
        self.folder = folder
        watch = RunWatch(folder, self._clock)
        self._thread = threading.Thread(target=self._follow, args=(watch.look,), name="follow", daemon=True)
        self._thread.start()

    def _follow(self, look: Callable[[], Snapshot]) -> None:
        over = False
        while not over:
            over = self._stop.wait(self._every_s)
            try:
                self._view.show(look())
            except Exception as fault:  # noqa: BLE001 - whatever a display raises, the run goes on; told when it is over
                self.fault = fault
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._view.close()
