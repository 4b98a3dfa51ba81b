"""What the console shows of devices: where each one stands, and what it does now as far as anybody here knows.

What is known: decisions and verdicts (the registry), who was asked in the round under way (the run's folder), and what
a device whose owner wants that has told of itself (the inbox). A device that tells nothing and was asked nothing is
called idle.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from skerry.clock import Clock
from skerry.device.service import device_pb2 as pb
from skerry.errors import RegistryError
from skerry.server.console.lines import WhenChanged
from skerry.server.console.run_facts import RunFacts
from skerry.server.enrolment import Office
from skerry.server.federation_home import FederationHome
from skerry.server.registry import DeviceKind, Registry, Scope, Standing
from skerry.server.registry.database import Watch
from skerry.server.registry.enrolled import Enrolled, State
from skerry.server.registry.place import database_of
from skerry.server.service.inbox import Inbox, LastCondition

__all__ = ["DeviceFacts"]

_HALF_LIFE_DAYS = 30.0
_FRESH_MS = 3_600_000  # what a device told longer ago says nothing of now
_AGAIN_S = 60.0  # standings fade while nobody writes
_PATIENCE_S = 5.0  # with a registry that could be read until now
_AWAY: Mapping[int, tuple[str, str]] = {
    pb.ACTIVITY_TOO_HOT: ("hot", "it told that it is too hot to work"),
    pb.ACTIVITY_PAUSED_BY_OWNER: ("resting", "paused by its owner"),
    pb.ACTIVITY_WAITING_FOR_POWER: ("resting", "waits for power"),
    pb.ACTIVITY_WAITING_FOR_NETWORK: ("resting", "waits for its network"),
    pb.ACTIVITY_TRAINING: ("training", "it told so"),
}

Fact = Mapping[str, Any]


class DeviceFacts:
    """The devices of a folder of runs, read again where registry or inbox have changed.

    Args:
        runs: the folder.
        clock: ms since the epoch.
        now: seconds that only go forward.
    """

    def __init__(self, runs: Path, clock: Clock, now: Callable[[], float] = time.monotonic) -> None:
        self._runs = runs
        self._clock = clock
        self._now = now
        inbox = FederationHome(runs).inbox
        self._inbox = WhenChanged(lambda: _conditions(inbox), inbox, inbox.with_name(f"{inbox.name}-wal"))
        self._watch: Watch | None = None
        self._known: tuple[list[Standing], dict[int, Enrolled]] = [], {}
        self._read_at = -math.inf
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="registry")
        self._reading: Future[tuple[list[Standing], dict[int, Enrolled]]] | None = None
        self._trouble: Exception | None = None

    def look(self, runs: Iterable[RunFacts]) -> Iterator[tuple[str, Fact]]:
        """Facts of the federation's devices, and of those of the simulations among ``runs``, by key."""
        standings, enrolled = self._look_at_registry()
        conditions, _ = self._inbox.look()
        shown = {run.scope for run in runs if run.scope is not None}
        busy = {(run.scope, name): run for run in runs for name in run.asked - run.answered}
        found: dict[tuple[Scope, str], Fact] = {}
        for one in standings:
            place = enrolled.get(one.device.id)
            if place is not None or one.device.scope in shown:
                scope, name = one.device.scope, one.device.name
                told = conditions.get(name) if place is not None else None
                found[scope, name] = self._fact(one, place, told, busy.get((scope, name)))
        for scope, name in {(run.scope, name) for run in runs if run.scope is not None for name in run.devices}:
            if (scope, name) not in found:
                found[scope, name] = _unjudged(scope, name, busy.get((scope, name)))
        for (scope, name), fact in found.items():
            yield f"device/{scope.kind.value}/{scope.name}/{name}", fact

    def _look_at_registry(self) -> tuple[list[Standing], dict[int, Enrolled]]:
        """What :meth:`_read` reads, in a thread of its own: a database that is away is waited for once, not each time.

        Raises:
            RegistryError: it cannot be read, or has not answered yet.
        """
        if self._reading is None:
            self._reading = self._thread.submit(self._read)
        wait([self._reading], 0.0 if self._trouble else _PATIENCE_S)
        if not self._reading.done():
            self._trouble = self._trouble or RegistryError("it does not answer", where=str(self._runs))
        else:
            done, self._reading, self._trouble = self._reading, None, None
            try:
                return done.result()
            except Exception as error:  # noqa: BLE001 - whatever it was, it is raised below, now and until it is over
                self._trouble = error
        raise self._trouble.with_traceback(None)  # again and again the same one

    def _read(self) -> tuple[list[Standing], dict[int, Enrolled]]:
        """Every device's standing, and the newest enrolment of those that have one; read again when it was written."""
        if self._watch is None:
            database = database_of(self._runs, upgrade=False)
            if not database.exists():
                return [], {}
            self._watch = database.watch()
        if self._watch.changed() or self._now() - self._read_at > _AGAIN_S:
            self._read_at = -math.inf  # until it was read
            office, registry = Office(self._runs, upgrade=False), Registry(self._runs, upgrade=False)
            enrolled = {one.device.id: one for one in office.enrolled() if not one.forgotten}
            self._known = registry.standings(self._clock(), _HALF_LIFE_DAYS), enrolled
            self._read_at = self._now()
        return self._known

    def _fact(self, one: Standing, place: Enrolled | None, told: LastCondition | None, run: RunFacts | None) -> Fact:
        kept = one.quarantine
        fresh = told if told is not None and self._clock() - told.at < _FRESH_MS else None
        state, why = _state(one, place, fresh, run)
        certificate = None if place is None else place.certificate
        return {
            "name": one.device.name,
            "scope": one.device.scope.name,
            "simulated": one.device.scope.kind is DeviceKind.SIMULATED,
            "state": state,
            "why": why,
            "enrolment": None if place is None else place.state.value,
            "role": None if place is None else place.role.value,
            "class": None if place is None else place.device_class,
            "tags": [] if place is None else list(place.tags),
            "fingerprint": None if place is None else place.fingerprint,
            "certificate_ends": None if certificate is None else certificate.expires,
            "standing": round(one.reputation.score, 3),
            "judged": one.judged,
            "rejected": one.rejected,
            "seen": one.last_seen,
            "quarantine": None
            if kept is None
            else {"by": kept.by, "why": kept.why, "at": kept.at, "run": kept.run, "round": kept.round},
            "told": None if told is None else {"at": told.at, **_words(told)},
        }


def _state(
    one: Standing, place: Enrolled | None, told: LastCondition | None, run: RunFacts | None
) -> tuple[str, str | None]:
    """One word for where a device is, the gravest that holds, and why."""
    if place is not None and place.state is not State.ENROLLED:
        decided = place.admission
        said = "left" if place.left is not None else place.state.value
        return said, None if decided is None else f"by {decided.by}: {decided.why}"
    if one.quarantine is not None:
        return "quarantined", f"by {one.quarantine.by}: {one.quarantine.why}"
    if told is not None and told.activity in _AWAY:
        return _AWAY[told.activity]
    if run is not None:
        return "training", f"asked by {run.id}"
    return "idle", None


def _unjudged(scope: Scope, name: str, run: RunFacts | None) -> Fact:
    """A device of a run of which the registry has nothing yet."""
    return {
        "name": name,
        "scope": scope.name,
        "simulated": scope.kind is DeviceKind.SIMULATED,
        "state": "idle" if run is None else "training",
        "why": None if run is None else f"asked by {run.id}",
        "enrolment": None,
        "role": None,
        "class": None,
        "tags": [],
        "fingerprint": None,
        "certificate_ends": None,
        "standing": 0.5,
        "judged": 0,
        "rejected": 0,
        "seen": None,
        "quarantine": None,
        "told": None,
    }


def _conditions(path: Path) -> dict[str, LastCondition]:
    return {one.device: one for one in Inbox(path, most=0).conditions()} if path.exists() else {}


def _words(told: LastCondition) -> dict[str, str]:
    def word(name: str) -> str:
        return name.partition("_")[2].replace("_", " ").lower()

    levels = {name: word(pb.Level.Name(getattr(told, name))) for name in ("battery", "free_memory", "free_disk")}
    return {"activity": word(pb.Activity.Name(told.activity)), **levels}
