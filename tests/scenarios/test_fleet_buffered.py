"""A buffered run over enrolled devices at a real SuperLink: answers as they come, whoever is silent, and going on."""

import functools
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from skerry.config import Scenario, to_toml
from skerry.runfolder import RunFolder, list_runs
from skerry.security.privacy.ledger import Ledger
from skerry.server import buffered
from skerry.server.journal import RoundJournal
from skerry.server.launch import launch, resume
from skerry.server.live_arrivals import LiveArrivals
from skerry.server.proof import verify_run

from ._enrolled import POLL_S, Up, honest_rounds, up

pytestmark = [pytest.mark.engine, pytest.mark.timeout(280)]

NAMES = ("writer-00", "writer-01", "writer-02", "writer-04")
SLOW = NAMES[-1]


def scenario(*overrides: str) -> Scenario:
    mode = ("cohort.mode=buffered", "cohort.buffer=2", "cohort.concurrency=4", "rounds=5")
    return honest_rounds("cohort.deadline_s=180", "cohort.patience_s=180", *mode, *overrides)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("runs")) as found:
        for name in NAMES:
            found.enrol(name, scenario())
        yield found


@pytest.fixture(autouse=True)
def all_well(fleet: Up) -> Iterator[None]:
    """Whatever a test made of the devices, the next one finds them on and quick."""
    yield
    for device in fleet.devices.values():
        device.off()
        device.trained = lambda send: send()
        device.on()


def opened(folder: RunFolder) -> list[list[str]]:
    """Who was asked, step by step, as the population's ledger tells."""
    with Ledger.open(folder.path / "ledger" / "population.jsonl") as ledger:
        entries = list(ledger.entries())
    names = {entry.seq: entry.body["device"] for entry in entries if entry.kind == "member"}
    return [[names[member] for member in entry.body["cohort"]] for entry in entries if entry.kind == "round_open"]


def hold_to_the_promise(folder: RunFolder, fleet: Up) -> None:
    """Nobody is asked who works, each step is opened and released once, no device debits what it was not asked."""
    records, asked = folder.rounds(), opened(folder)
    assert [record.round for record in records] == list(range(1, folder.scenario.rounds + 1))
    assert len(asked) == len(records)
    working: set[str] = set()
    for began, record in zip(asked, records, strict=True):
        assert not set(began) & working
        working |= set(began)
        assert len(working) <= 4
        assert len(record.extra["staleness"]) <= 2
        working -= record.extra["staleness"].keys() | {d for d, why in record.dropped.items() if why == "no_reply"}
    for name in NAMES:
        with fleet.devices[name].ledger() as ledger:
            spent = [e.body for e in ledger.entries() if e.kind == "debit" and e.body["run"] == folder.id]
        debits = Counter(body["round"] for body in spent)
        assert max(debits.values(), default=0) <= 1
        assert debits.keys() <= {number for number, began in enumerate(asked, 1) if name in began}
    assert verify_run(folder, remembered={}, pld=False).holds


def test_a_slow_device_holds_nobody_and_its_late_answer_counts(fleet: Up) -> None:
    kept: list[RunFolder] = []

    def after_two_steps(send: Callable[[], None]) -> None:
        deadline = time.monotonic() + 180
        while len(kept[0].rounds()) < 2:
            assert time.monotonic() < deadline
            time.sleep(POLL_S)
        send()

    fleet.devices[SLOW].trained = after_two_steps
    folder = launch(scenario("rounds=8"), engine="fleet", parent=fleet.runs, on_folder=kept.append)
    hold_to_the_promise(folder, fleet)
    assert all(len(record.accepted) == 2 for record in folder.rounds())
    ages = [record.extra["staleness"].get(SLOW) for record in folder.rounds()]
    assert ages[:2] == [None, None]
    assert next(age for age in ages if age is not None) >= 2
    seconds = [record.extra["elapsed_s"] for record in folder.rounds()]
    assert seconds == sorted(seconds)


# A process that is killed when the function at ``module:path`` has returned so many times.
DYING = """
import importlib, os, signal, sys
from pathlib import Path
from skerry.config import load_scenario
from skerry.server.launch import launch

scenario, runs, place, count = sys.argv[1:]
module, _, path = place.partition(":")
holder = importlib.import_module(module)
*owners, name = path.split(".")
for owner in owners:
    holder = getattr(holder, owner)
plain, left = getattr(holder, name), [int(count)]

def wrapped(*args, **named):
    out = plain(*args, **named)
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return out

setattr(holder, name, wrapped)
launch(load_scenario(Path(scenario)), engine="fleet", parent=Path(runs))
"""


@pytest.mark.parametrize(
    ("place", "count"),
    [
        ("skerry.server.journal:RoundJournal.add", 5),
        pytest.param("skerry.server.buffered:make_plan", 3, marks=pytest.mark.slow),
        pytest.param("skerry.server.buffered:carry", 2, marks=pytest.mark.slow),
        pytest.param("skerry.server.rounds:evaluate_held_out", 4, marks=pytest.mark.slow),
    ],
)
def test_a_killed_coordinator_goes_on_and_asks_nobody_twice(place: str, count: int, fleet: Up, tmp_path: Path) -> None:
    path = tmp_path / "buffered.toml"
    path.write_text(to_toml(scenario()))
    before = {run.id for run in list_runs(fleet.runs)}
    done = subprocess.run([sys.executable, "-c", DYING, path, fleet.runs, place, str(count)], check=False, timeout=200)
    assert done.returncode == -signal.SIGKILL
    (stopped,) = [run for run in list_runs(fleet.runs) if run.id not in before]
    finished = [(record.round, record.vector_digest) for record in stopped.rounds()]
    number = len(finished) + 1
    kept = RoundJournal(stopped.path).read(number, NAMES)
    here = {} if kept is None else dict(kept.answers)
    assert here or not place.endswith("add")
    folder = resume(stopped.id, parent=fleet.runs)
    hold_to_the_promise(folder, fleet)
    records = folder.rounds()
    assert [(record.round, record.vector_digest) for record in records[: number - 1]] == finished
    assert all(len(record.accepted) == 2 for record in records)
    assert set(list(here)[:2]) <= set(records[number - 1].accepted)  # what was here is what the step is made of


def test_a_silent_device_gives_up_its_place(fleet: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its deadline passes between the first step and the second, when nobody else is at work."""
    kept: list[RunFolder] = []

    def now() -> float:
        return time.monotonic() + (1e6 if kept[0].rounds() else 0.0)

    monkeypatch.setattr(buffered, "LiveArrivals", functools.partial(LiveArrivals, now=now))
    fleet.devices[SLOW].trained = lambda send: None
    folder = launch(scenario("cohort.buffer=3", "rounds=3"), engine="fleet", parent=fleet.runs, on_folder=kept.append)
    assert SLOW in opened(folder)[0]
    dropped = [dict(record.dropped) for record in folder.rounds()]
    assert dropped[0] == {}
    assert {SLOW: "no_reply"} in dropped
    assert all(set(one) <= {SLOW} for one in dropped)
    assert verify_run(folder, remembered={}, pld=False).holds
