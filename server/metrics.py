"""What a federation tells Prometheus: its runs, what they spent, who is in its fleet, and what is about to end.

Everything is read from a folder of runs at each scrape, so nothing is hooked into servers or runs, and a process that
only measures cannot harm them. No device is named: who may see a fleet's graphs need not know its devices.

Under Poisson sampling nobody but the coordinator may learn who was asked, or the amplification that is accounted is
gone; how many they were, what they sent and how long its stages took narrows it down, and is not told. When each round
ended is told, and so about how long it took.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.core import CollectorRegistry, CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from skerry.clock import Clock
from skerry.config import Scenario
from skerry.errors import SkerryError
from skerry.records import Reason, RoundRecord
from skerry.runfolder import RunFolder, list_runs
from skerry.server.enrolment import Office
from skerry.server.federation_home import FederationHome
from skerry.server.registry import Registry
from skerry.server.registry.enrolled import State
from skerry.server.registry.place import database_of
from skerry.server.running import RunningServer

__all__ = ["FederationCollector", "metrics_of"]

_NO_HALVING = 1e9  # days: standing is not what is read here
_UNDER_WAY = {"preparing", "running", "finishing"}


def metrics_of(runs: Path, clock: Clock, *, newest: int = 10) -> CollectorRegistry:
    """A registry of Prometheus' client that reads a folder of runs whenever it is scraped."""
    registry = CollectorRegistry()
    registry.register(FederationCollector(runs, clock, newest=newest))
    return registry


class FederationCollector(Collector):
    """Reads a folder of runs.

    Args:
        runs: the folder.
        clock: ms since the epoch.
        newest: how many runs are told of, the newest and whatever is under way.
    """

    def __init__(self, runs: Path, clock: Clock, *, newest: int = 10) -> None:
        self._runs, self._clock, self._newest = runs, clock, newest

    def describe(self) -> list[Metric]:
        """Nothing: names are known at a scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics, as of now."""
        unreadable = GaugeMetricFamily("skerry_unreadable", "What could not be read, by kind.", labels=["kind"])
        runs = list_runs(self._runs)
        known, damaged = [], 0
        for at, run in enumerate(runs):
            try:
                if at >= len(runs) - self._newest or run.state in _UNDER_WAY:
                    known.append(_Run.of(run))
            except (SkerryError, OSError, ValueError, TypeError, KeyError):  # of another version, or damaged
                damaged += 1
        yield from _runs_of(known)
        unreadable.add_metric(["run"], damaged)
        try:
            yield from list(self._fleet())
            unreadable.add_metric(["registry"], 0)
        except SkerryError:  # or it is not known where it is
            unreadable.add_metric(["registry"], 1)
        yield unreadable
        yield from self._servers()

    def _fleet(self) -> Iterator[Metric]:
        enrolled = GaugeMetricFamily("skerry_devices", "Enrolments, by class and state.", labels=["class", "state"])
        ends = GaugeMetricFamily(
            "skerry_devices_certificate_ended", "Enrolled devices whose certificate has ended without a renewal."
        )
        quarantined = GaugeMetricFamily("skerry_devices_quarantined", "In quarantine, by scope.", labels=["scope"])
        if database_of(self._runs, upgrade=False).exists():
            now = self._clock()
            found = Office(self._runs, upgrade=False).enrolled()
            counted = Counter((one.device_class, one.state) for one in found)
            for (kind, state), number in sorted(counted.items()):
                enrolled.add_metric([kind, state], number)
            standing = [one for one in found if one.state is State.ENROLLED and one.certificate is not None]
            ends.add_metric([], sum(one.certificate is not None and one.certificate.expires <= now for one in standing))
            standings = Registry(self._runs, upgrade=False).standings(now, _NO_HALVING)
            out = Counter(one.device.scope.name for one in standings if one.quarantine is not None)
            for scope in sorted({one.device.scope.name for one in standings}):
                quarantined.add_metric([scope], out[scope])
        yield from (enrolled, ends, quarantined)

    def _servers(self) -> Iterator[Metric]:
        found = RunningServer.read(FederationHome(self._runs).server)
        up = GaugeMetricFamily("skerry_server_up", "Whether `skerry server up` of this folder runs.")
        up.add_metric([], found is not None)
        until = GaugeMetricFamily("skerry_server_certificate_ends_timestamp_seconds", "Of the servers' certificate.")
        if found is not None:
            until.add_metric([], found.certificate_until / 1000)
        yield from (up, until)


@dataclass(frozen=True)
class _Run:
    """A run as it was read once for a scrape."""

    id: str
    scenario: Scenario
    engine: str
    state: str
    rounds: list[RoundRecord]

    @staticmethod
    def of(run: RunFolder) -> "_Run":
        return _Run(run.id, run.scenario, str(run.status["engine"]), run.state, run.rounds())


def _runs_of(runs: Sequence[_Run]) -> Iterator[Metric]:
    labels = ["run", "scenario", "engine", "unit", "delta", "state"]
    told = GaugeMetricFamily("skerry_run", "1 for each run.", labels=labels)
    for run in runs:
        privacy = run.scenario.privacy
        delta = "" if privacy.unit == "none" else f"{privacy.delta:g}"
        told.add_metric([run.id, run.scenario.name, run.engine, privacy.unit, delta, run.state], 1)
    yield told
    for name, text, value in _GAUGES:
        gauge = GaugeMetricFamily(f"skerry_run_{name}", text, labels=["run"])
        for run in runs:
            if (found := value(run)) is not None:
                gauge.add_metric([run.id], found)
        yield gauge
    open_runs = [run for run in runs if run.scenario.cohort.sampling != "poisson"]
    for name, text, by, values in _COUNTERS:
        counter = CounterMetricFamily(f"skerry_run_{name}", text, labels=["run", *by])
        for run in runs if name in _OF_NOBODY else open_runs:
            for given, number in sorted(values(run.rounds).items()):
                counter.add_metric([run.id, *given], number)
        yield counter
    stages = GaugeMetricFamily("skerry_run_round_seconds", "Of the newest round, by stage.", labels=["run", "stage"])
    for run in open_runs:
        for newest in run.rounds[-1:]:
            for stage, seconds in newest.seconds.items():
                stages.add_metric([run.id, stage], seconds)
    yield stages


def _budget(run: _Run) -> float | None:
    privacy = run.scenario.privacy
    if privacy.unit == "none":
        return None
    return privacy.epsilon if privacy.budget is None else privacy.budget


def _newest(value: Callable[[RoundRecord], float | None]) -> Callable[[_Run], float | None]:
    return lambda run: value(run.rounds[-1]) if run.rounds else None


_GAUGES: tuple[tuple[str, str, Callable[[_Run], float | None]], ...] = (
    ("rounds_planned", "Rounds of the scenario.", lambda run: run.scenario.rounds),
    ("accuracy", "On held-out devices, of the newest round.", _newest(lambda one: one.accuracy)),
    ("loss", "On held-out devices, nats, of the newest round.", _newest(lambda one: one.loss)),
    (
        "epsilon",
        "Largest ε that a device's rounds may have spent: RDP, add/remove, at delta and for unit of skerry_run.",
        _newest(lambda one: one.epsilon_max),
    ),
    ("epsilon_budget", "ε that no device goes over, at the same delta.", _budget),
    ("newest_round_timestamp_seconds", "When it was finished.", _newest(lambda one: one.finished_ms / 1000)),
)

_Counts = dict[tuple[str, ...], float]


def _dropped(rounds: Sequence[RoundRecord]) -> _Counts:
    """Of every reason from the start: what first appears with its first drop shows Prometheus no increase."""
    reasons = Counter(reason for one in rounds for reason in one.dropped.values())
    return {(str(reason),): reasons[reason] for reason in {*Reason, *reasons}}


def _bytes(rounds: Sequence[RoundRecord]) -> _Counts:
    return {("down",): sum(one.bytes_down for one in rounds), ("up",): sum(one.bytes_up for one in rounds)}


_COUNTERS: tuple[tuple[str, str, list[str], Callable[[Sequence[RoundRecord]], _Counts]], ...] = (
    ("rounds", "Rounds finished.", [], lambda rounds: {(): len(rounds)}),
    ("updates", "Updates used.", [], lambda rounds: {(): sum(len(one.accepted) for one in rounds)}),
    ("updates_flagged", "Updates flagged.", [], lambda rounds: {(): sum(len(one.flagged) for one in rounds)}),
    ("updates_dropped", "Updates not used, by reason.", ["reason"], _dropped),
    ("bytes", "Sent to devices (down) and by devices (up).", ["direction"], _bytes),
)
_OF_NOBODY = frozenset({"rounds"})
"""The counters that say nothing of who was asked."""
