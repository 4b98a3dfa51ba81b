"""The wait for devices lasts as long as something happens, and ends with the names of those that are missing."""

from collections.abc import Iterable, Iterator
from types import SimpleNamespace

import pytest
from flwr.app import Message

from skerry.clock import system_clock
from skerry.device.app import app, fleet_homes
from skerry.errors import RunFailedError
from skerry.runfolder import RunFolder
from skerry.server import discover as discover_module
from skerry.server.discover import discover
from skerry.server.engines.flwr_adapter import task_identity
from skerry.server.engines.inprocess_grid import InProcessGrid

PATIENCE_S = 180.0


class Time:
    """Passes by sleeping only."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(discover_module, "time", SimpleNamespace(monotonic=lambda: self.now, sleep=self._sleep))

    def _sleep(self, seconds: float) -> None:
        self.now += seconds


class SlowGrid(InProcessGrid):
    """Nodes connect ``connect_s`` apart; each answers ``answer_s`` after the one before, none before ``mute_s``."""

    def __init__(
        self, run: RunFolder, time: Time, *, connect_s: float = 0.0, answer_s: float = 0.0, mute_s: float = 0.0
    ) -> None:
        super().__init__(app, [{"skerry-home": str(home)} for home in fleet_homes(run.path)])
        self._time, self._connect_s, self._answer_s = time, connect_s, answer_s
        self._answered, self._mute_s = 0.0, mute_s

    def get_node_ids(self) -> list[int]:
        return [n for i, n in enumerate(super().get_node_ids()) if self._time.now >= i * self._connect_s]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        if self._time.now < max(self._answered + self._answer_s, self._mute_s):
            return []
        self._answered = self._time.now
        return super().pull_messages(sorted(message_ids)[:1])


@pytest.fixture(autouse=True)
def identity() -> Iterator[None]:
    with task_identity(1):
        yield


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


def devices(run: RunFolder) -> list[str]:
    return [home.name for home in fleet_homes(run.path)]


@pytest.mark.parametrize("pace", [{"connect_s": 100.0}, {"answer_s": 100.0}, {"connect_s": 100.0, "mute_s": 1000.0}])
def test_as_long_as_nodes_come_or_answer_the_wait_goes_on(prepared_run: RunFolder, time: Time, pace: dict) -> None:
    grid = SlowGrid(prepared_run, time, **pace)
    found = discover(prepared_run, grid, devices(prepared_run), system_clock, patience_s=PATIENCE_S)
    assert sorted(found) == devices(prepared_run)
    assert len(set(found.values())) == len(found)
    assert time.now > 3 * PATIENCE_S  # in all, far longer than the patience with silence


@pytest.mark.parametrize("pace", [{"connect_s": 200.0}, {"answer_s": 200.0}])
def test_silence_ends_the_wait_with_the_names_of_the_missing(prepared_run: RunFolder, time: Time, pace: dict) -> None:
    grid = SlowGrid(prepared_run, time, **pace)
    with pytest.raises(RunFailedError, match="devices did not answer") as failed:
        discover(prepared_run, grid, devices(prepared_run), system_clock, patience_s=PATIENCE_S)
    assert devices(prepared_run)[1] in failed.value.what
    assert PATIENCE_S < time.now < 2 * PATIENCE_S


def test_a_node_that_fails_or_is_somebody_else_does_not_end_the_wait_of_the_others(
    prepared_run: RunFolder, time: Time
) -> None:
    homes = [{"skerry-home": "/nowhere"}, *({"skerry-home": str(home)} for home in fleet_homes(prepared_run.path))]
    found = discover(
        prepared_run, InProcessGrid(app, homes), devices(prepared_run), system_clock, patience_s=PATIENCE_S
    )
    assert sorted(found) == devices(prepared_run)
