"""Where the time of a round over agents goes: between its milestones, and in which process.

Every process notes by the wall clock, which they share, when it came to a milestone; a round reaches one when its last
device does. So the stages of a round add up to it.
"""

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

TIMELINE = "timeline.jsonl"  # in a device's folder
SEALED, PUSHED = "sealed", "pushed"  # by the coordinator
HEARD, FETCHED, WORKED, ANNOUNCED, SENT = "heard", "fetched", "worked", "announced", "sent"  # by each device
BY_DEVICE = {HEARD, FETCHED, WORKED, ANNOUNCED, SENT}
COLLECTED, OPENED = "collected", "opened"  # by the coordinator
ORDER = (SEALED, PUSHED, HEARD, FETCHED, WORKED, ANNOUNCED, SENT, COLLECTED, OPENED)
TEXT = {
    SEALED: "instructions sealed",
    PUSHED: "… and given to the SuperLink",
    HEARD: "the last device has heard of its own",
    FETCHED: "… has fetched it and written it down",
    WORKED: "… has opened it, worked, and sealed its answer",
    ANNOUNCED: "… has written the answer down and announced it",
    SENT: "… has uploaded it",
    COLLECTED: "the coordinator has the last answer",
    OPENED: "… and has opened it",
}


class Diary:
    """A device's milestones, one line of JSON a message, in a file that the coordinator of the benchmark reads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._noted: dict[str, float] = {}

    def note(self, milestone: str) -> None:
        """It was reached now."""
        self._noted[milestone] = time.time()

    def done(self) -> None:
        """The message is answered."""
        line = {**self._noted, "cpu": time.process_time()}
        self._noted = {}
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    @staticmethod
    def read(path: Path) -> list[dict[str, float]]:
        """Of messages that were answered whole."""
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [line for line in lines if line.keys() >= BY_DEVICE]


def noting(call: Callable[..., Any], milestone: str, diary: Diary, *, before: bool = False) -> Callable[..., Any]:
    """The call, which notes a milestone when it begins, or when it has brought something."""

    def noted(*given: Any, **named: Any) -> Any:
        if before:
            diary.note(milestone)
            return call(*given, **named)
        found = call(*given, **named)
        if found is not None:
            diary.note(milestone)
        return found

    return noted


class Servers:
    """What the gateway's process and the SuperLink's have used so far."""

    def __init__(self, pid: int) -> None:
        self._gateway = psutil.Process(pid)
        family = self._gateway.children(recursive=True)
        self._superlink = next(one for one in family if "superlink" in " ".join(one.cmdline()))

    def cpu(self) -> dict[str, float]:
        """Seconds of processor time, by process."""
        return {"gateway": _seconds(self._gateway), "superlink": _seconds(self._superlink)}

    def rss_mb(self) -> dict[str, float]:
        """Resident memory in MB (10^6), by process."""
        both = {"gateway": self._gateway, "superlink": self._superlink}
        return {name: process.memory_info().rss / 1e6 for name, process in both.items()}


def split(rounds: Sequence[Mapping[str, float]], devices: Sequence[Sequence[Mapping[str, float]]]) -> dict[str, float]:
    """Median milliseconds between a milestone and the one before it.

    Args:
        rounds: the coordinator's milestones, and ``begin``, of each round.
        devices: of each device its lines; it heard of its instruction between a round's beginning and its end.
    """
    spans: dict[str, list[float]] = {name: [] for name in ORDER}
    for one in rounds:
        if COLLECTED not in one:
            continue
        here = [[line for line in lines if one["begin"] <= line[HEARD] <= one[OPENED]] for lines in devices]
        if not all(here):
            continue
        before = one["begin"]
        for name in ORDER:
            at = one[name] if name in one else max(lines[-1][name] for lines in here)
            at = max(at, before)
            spans[name].append(1000 * (at - before))
            before = at
    return {TEXT[name]: round(statistics.median(values), 1) for name, values in spans.items() if values}


def _seconds(process: psutil.Process) -> float:
    used = process.cpu_times()
    return used.user + used.system
