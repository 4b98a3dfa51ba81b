"""A buffered run whose devices answer when they do: what is kept when it is stopped, and what a refusal is worth.

Devices are in this process, behind the gathering of a fleet; time passes when nothing comes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest

from skerry.clock import system_clock
from skerry.config import default_scenario
from skerry.device import participation
from skerry.device.app import app, fleet_homes
from skerry.device.worker import process_worker
from skerry.errors import RefusedError
from skerry.runfolder import RunFolder
from skerry.security.privacy.verification import read_ledger
from skerry.server import buffered, rounds
from skerry.server.discover import discover
from skerry.server.engines.flwr_adapter import ErrorKind, task_identity
from skerry.server.engines.inprocess_grid import InProcessGrid, _refusal
from skerry.server.federation import Federation
from skerry.server.journal import RoundJournal
from skerry.server.live_arrivals import LiveArrivals
from skerry.server.mailbox import Mailbox
from skerry.server.prepare import prepare
from skerry.server.proof import verify_run
from tests.server.test_device_level import DEVICE

SETTINGS = (
    "rounds=4",
    'cohort.mode="buffered"',
    "cohort.buffer=7",
    "cohort.concurrency=8",
    "cohort.deadline_s=60",
    "defence.tolerate=1",
    "attack.devices=0",
    "report.references=false",
)


class Killed(BaseException):
    """Ends a run as nothing that it catches does."""


@dataclass
class Shore:
    """What devices do, whichever process of the run they are asked by; ``seconds`` pass while nothing comes."""

    silent: set[str] = field(default_factory=set)
    away: set[str] = field(default_factory=set)
    quick: set[str] = field(default_factory=set)
    seconds: float = 0.0
    cohorts: dict[int, tuple[str, ...]] = field(default_factory=dict)


class OneByOne(InProcessGrid):
    """Each look brings one answer: of quick devices, and then in the order in which they were asked; of a silent device
    none, and of those that are away that their nodes are, as a SuperLink says it.
    """

    shore: Shore
    names: dict[int, str]

    def pull_messages(self, message_ids: Iterable[str]):
        under_way = self.under_way(set(message_ids))
        offline = [identifier for name, identifier in under_way if name in self.shore.away]
        if offline:
            return [_refusal(self._pushed.pop(one), ErrorKind.NODE_UNAVAILABLE, "offline") for one in offline]
        for name, identifier in sorted(under_way, key=lambda one: one[0] not in self.shore.quick):
            if name not in self.shore.silent:
                return super().pull_messages([identifier])
        return []

    def under_way(self, wanted: set[str]) -> list[tuple[str, str]]:
        """Device and message; before it is known who answers where, the node."""
        found = {i: message.metadata for i, message in self._pushed.items() if i in wanted}
        return [(self.names.get(one.dst_node_id, ""), i) for i, one in found.items()]

    def rest(self, seconds: float) -> None:
        self.shore.seconds += 5.0


@pytest.fixture
def shore(monkeypatch) -> Shore:
    """Gatherings of a fleet, whose devices live here."""
    shore = Shore()

    def live(federation):
        deadline_s = federation.scenario.cohort.deadline_s
        return LiveArrivals(Mailbox(federation.grid), timeout_s=deadline_s, now=lambda: shore.seconds)

    monkeypatch.setattr(buffered, "_arrivals", live)
    return shore


def begin(parent, *overrides: str) -> RunFolder:
    return RunFolder.create(parent, default_scenario([*SETTINGS, *overrides]), engine="inprocess")


def go(folder: RunFolder, shore: Shore):
    """A process of the run: from where the one before was stopped to its end."""
    prepared = prepare(folder, system_clock, process_worker())
    with task_identity(1):
        grid = OneByOne(app, [{"skerry-home": str(home)} for home in fleet_homes(folder.path)])
        grid.shore, grid.names = shore, {}
        nodes = discover(folder, grid, prepared.task.devices(), system_clock, patience_s=180)
        grid.names = {node: device for device, node in nodes.items()}
        federation = Federation.assemble(folder, prepared, grid, nodes, system_clock)
        with federation.ledger:
            return rounds.run_rounds(federation).records


def killed(monkeypatch, folder: RunFolder, shore: Shore, holder, name: str, when: Callable[..., bool]) -> None:
    """A process of the run that ends where a function is called so."""
    plain = getattr(holder, name)

    def dying(*args, **named):
        if when(*args, **named):
            raise Killed
        return plain(*args, **named)

    with monkeypatch.context() as patched:
        patched.setattr(holder, name, dying)
        with pytest.raises(Killed):
            go(folder, shore)


def drawn(monkeypatch, shore: Shore, then: Callable[[int, tuple[str, ...]], None]) -> None:
    """Look at who is asked in each step."""
    plain = buffered.BufferedGathering._draw

    def draw(self, federation, number):
        cohort = plain(self, federation, number)
        shore.cohorts[number] = cohort
        then(number, cohort)
        return cohort

    monkeypatch.setattr(buffered.BufferedGathering, "_draw", draw)


def debits(folder: RunFolder, device: str) -> int:
    return read_ledger(folder.path / "ledger" / "devices" / f"{device}.jsonl").debits


def after(count: int) -> Callable[..., bool]:
    left = [count]

    def now(*_, **__) -> bool:
        left[0] -= 1
        return left[0] < 0

    return now


@pytest.mark.parametrize(
    ("holder", "name", "count"),
    [(RoundJournal, "add", 1), (rounds, "evaluate_held_out", 1)],
    ids=["its answer is here", "its step is released"],
)
def test_an_answer_to_a_second_instruction_counts_whenever_a_process_ends(
    holder, name, count, shore, monkeypatch, tmp_path
) -> None:
    """A device was asked in step 1; the process ends in step 2, asks it again, it answers, and the process ends twice
    more in that step."""
    late: list[str] = []

    def first_is_late(number: int, cohort: tuple[str, ...]) -> None:
        if number == 1:
            late.append(cohort[0])
            shore.silent = {cohort[0]}

    drawn(monkeypatch, shore, first_is_late)
    folder = begin(tmp_path)
    killed(monkeypatch, folder, shore, LiveArrivals, "begin", lambda _, __, plan, ___: plan.number == 2)
    shore.silent = set()
    for _ in range(2):
        killed(monkeypatch, folder, shore, holder, name, after(count))
    records = go(folder, shore)
    assert [record.round for record in records] == [1, 2, 3, 4]
    assert late[0] in records[1].accepted
    assert records[1].extra["staleness"][late[0]] == 1
    assert all(not record.dropped for record in records)
    taken = sum(late[0] in record.extra["staleness"] for record in records)
    assert taken <= debits(folder, late[0]) <= taken + 1  # one may be under way at the end
    assert verify_run(folder, remembered={}, pld=False).holds


def test_who_was_given_up_and_asked_anew_does_not_stop_a_run_that_goes_on(shore, monkeypatch, tmp_path) -> None:
    def one_is_silent(number: int, cohort: tuple[str, ...]) -> None:
        if number <= 2:
            shore.silent.add(cohort[0])

    drawn(monkeypatch, shore, one_is_silent)
    folder = begin(tmp_path)
    killed(monkeypatch, folder, shore, rounds, "store_round", lambda _, checkpoint: checkpoint.round == 2)
    gone, shore.silent = set(shore.silent), set()
    assert gone & set(shore.cohorts[3])  # else nothing is tried here
    assert [record.round for record in RunFolder(folder.path).rounds()] == [1]
    records = go(folder, shore)
    assert [record.round for record in records] == [1, 2, 3, 4]
    assert dict(records[1].dropped) == dict.fromkeys(gone, "no_reply")
    assert verify_run(folder, remembered={}, pld=False).holds


@pytest.fixture
def poor(monkeypatch) -> set[str]:
    """Devices that refuse at once, as if they had no budget left."""
    poor: set[str] = set()
    plain = participation._agree

    def agree(resident, instruction):
        if resident.home.device in poor:
            raise RefusedError("budget_exceeded", "nothing is left", where=resident.home.device)
        return plain(resident, instruction)

    monkeypatch.setattr(participation, "_agree", agree)
    return poor


def test_devices_that_refuse_at_once_end_no_step(shore, poor, monkeypatch, tmp_path) -> None:
    """As many as the buffer holds, quicker than all who work; one process more changes nothing of it."""
    some = ("cohort.buffer=4", "cohort.concurrency=11", "privacy.unit=none", "rounds=3")

    def four_refuse(number: int, cohort: tuple[str, ...]) -> None:
        poor.update(cohort[:4] if number == 1 else ())
        shore.quick = poor

    drawn(monkeypatch, shore, four_refuse)
    folder = begin(tmp_path, *some)
    killed(monkeypatch, folder, shore, LiveArrivals, "begin", lambda _, __, plan, ___: plan.number == 3)
    records = go(folder, shore)
    assert [len(record.accepted) for record in records] == [4, 4, 4]
    assert not any(poor & set(cohort) for number, cohort in shore.cohorts.items() if number > 1)
    assert shore.seconds < 60


@pytest.mark.parametrize("more", [("privacy.unit=none",), (*DEVICE, "privacy.denominator=4")], ids=["none", "device"])
def test_devices_that_are_offline_end_no_step(more, shore, monkeypatch, tmp_path) -> None:
    """That a node is away is not a device's word, and comes at once; it is as if the device were silent."""
    some = (*more, "cohort.buffer=4", "cohort.concurrency=11", "rounds=3")

    def four_are_away(number: int, cohort: tuple[str, ...]) -> None:
        shore.away.update(cohort[:4] if number == 1 else ())

    drawn(monkeypatch, shore, four_are_away)
    folder = begin(tmp_path, *some)
    killed(monkeypatch, folder, shore, LiveArrivals, "begin", lambda _, __, plan, ___: plan.number == 3)
    records = go(folder, shore)
    assert [len(record.accepted) for record in records] == [4, 4, 4]
    assert not any(shore.away & set(cohort) for number, cohort in shore.cohorts.items() if number > 1)
    assert shore.seconds < 60


def test_a_device_that_comes_back_is_asked_again_and_one_that_does_not_is_given_up(
    shore, monkeypatch, tmp_path
) -> None:
    some = ("cohort.buffer=7", "privacy.unit=none", "rounds=1")

    def two_are_away(_: int, cohort: tuple[str, ...]) -> None:
        shore.away.update(cohort[:2])

    def one_comes_back(self, seconds: float) -> None:
        shore.seconds += 5.0
        if shore.seconds == 10.0:
            shore.away.pop()

    drawn(monkeypatch, shore, two_are_away)
    monkeypatch.setattr(OneByOne, "rest", one_comes_back)
    (record,) = go(begin(tmp_path, *some), shore)
    assert len(record.accepted) == 7
    assert 20.0 <= shore.seconds < 60
    assert not record.dropped


def test_a_refusal_frees_its_place_at_the_deadline_and_says_why(shore, poor, monkeypatch, tmp_path) -> None:
    """Nobody else can fill the buffer; what was given up is in the journal, with what the device said."""
    some = ("cohort.buffer=7", "privacy.unit=none", "rounds=2")

    def two_refuse(number: int, cohort: tuple[str, ...]) -> None:
        poor.update(cohort[:2] if number == 1 else ())

    drawn(monkeypatch, shore, two_refuse)
    folder = begin(tmp_path, *some)
    killed(monkeypatch, folder, shore, buffered, "open_replies", lambda _, plan, __: plan.number == 1)
    passed = shore.seconds
    assert passed >= 60
    records = go(folder, shore)
    assert records[0].extra["refusals"] == dict.fromkeys(poor, "budget_exceeded")
    assert dict(records[0].dropped) == dict.fromkeys(poor, "refused_by_device")
    assert len(records[0].accepted) == 6
    assert records[0].extra["virtual_s"] == 0  # it was made of what was here


def test_under_device_level_privacy_a_refusal_takes_a_place_and_its_device_rests(
    shore, poor, monkeypatch, tmp_path
) -> None:
    some = (*DEVICE, "cohort.buffer=4", "cohort.concurrency=4", "privacy.denominator=4", "rounds=5")

    def one_refuses(number: int, cohort: tuple[str, ...]) -> None:
        poor.update(cohort[:1] if number == 1 else ())

    drawn(monkeypatch, shore, one_refuses)
    records = go(begin(tmp_path, *some), shore)
    assert len(records[0].accepted) == 3
    assert records[0].extra["refusals"] == dict.fromkeys(poor, "budget_exceeded")
    assert all(len(record.accepted) == 4 for record in records[1:])
    assert not any(poor & set(cohort) for number, cohort in shore.cohorts.items() if number > 1)
    assert shore.seconds == 0
