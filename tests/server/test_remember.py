"""A run and the fleet's registry: recorded once, left out only when asked for, and never at the cost of a result."""

import functools
import json
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from skerry.clock import system_clock
from skerry.config import default_scenario, load_scenario
from skerry.errors import DiskFullError, RefusedError, RegistryError
from skerry.records import Action, RoundRecord, Verdict
from skerry.runfolder import RunFolder
from skerry.server.checkpoint import load_checkpoint
from skerry.server.launch import launch
from skerry.server.registry import JudgedRound, Registry, Scope, scope_of
from skerry.server.remember import FleetMemory, check_enough
from skerry.syncer import Job

SHORT = ["rounds=3", "training.epochs=1", "report.references=false"]
WRITERS = [f"writer-{i:02d}" for i in range(14) if i not in {3, 9, 12}]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., RunFolder]:
    return lambda *settings: launch(default_scenario([*SHORT, *settings]), engine="inprocess", parent=tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run that has not begun."""
    return RunFolder.create(tmp_path, default_scenario(SHORT), engine="inprocess")


def remembering(parent: Path, *more: str) -> RunFolder:
    return RunFolder.create(parent, default_scenario([*SHORT, "defence.remember=true", *more]), engine="inprocess")


def outcomes(parent: Path) -> list[tuple[str, int, str]]:
    with sqlite3.connect(parent / "registry.sqlite") as base:
        return sorted(
            base.execute("select d.name, o.round, o.action from outcome o join device d on d.id = o.device").fetchall()
        )


def put_out(parent: Path, *names: str) -> None:
    """An operator's decision about devices that a run of the default scenario saw."""
    registry, scope = Registry(parent), scope_of(default_scenario())
    registry.record(scope, "earlier", [JudgedRound(1, 0, [Verdict(1, name, Action.ACCEPT) for name in names])])
    for name in names:
        registry.quarantine(registry.find(name), by="ada", why="stolen", now=0)


def done(*, failed: bool = False) -> Job:
    def work() -> None:
        if failed:
            raise DiskFullError("no space left on the device")

    return Job().do(work)


def test_what_a_run_judged_is_in_the_registry_and_the_next_run_asks_everybody_unless_it_remembers(
    run, tmp_path: Path
) -> None:
    first = run()
    lines = [(v["device"], v["round"], v["action"]) for v in first.lines("verdicts.jsonl")]
    assert outcomes(tmp_path) == sorted(lines)
    assert len(lines) == 3 * len(WRITERS)
    out = set(first.result["defence"]["quarantined"])
    assert out == set(first.result["defence"]["attackers"])
    assert len(out) == 2
    assert Registry(tmp_path).quarantined(scope_of(first.scenario)).keys() == out
    assert first.notices == ()

    second = run()
    assert {v["device"] for v in second.lines("verdicts.jsonl")} == set(WRITERS)
    assert [r.vector_digest for r in second.rounds()] == [r.vector_digest for r in first.rounds()]
    (notice,) = second.notices
    assert f"from earlier runs, and asked all the same: {' and '.join(sorted(out))} (defence.remember" in notice

    third = run("defence.remember=true")
    assert {v["device"] for v in third.lines("verdicts.jsonl")} == set(WRITERS) - out
    assert set(load_checkpoint(third).screener["consequences"]["quarantine"]) == out  # its screen counts them as found
    assert third.status["excluded"] == third.result["defence"]["excluded"] == sorted(out)
    assert third.result["defence"]["attackers"] == []
    assert third.result["defence"]["quarantined"] == []
    assert third.result["delivery"]["recipients"] == len(WRITERS) - 2
    assert "not asked, in quarantine from earlier runs" in third.notices[0]


def test_a_registry_that_cannot_be_used_costs_a_notice_and_no_result(run, tmp_path: Path) -> None:
    path = tmp_path / "registry.sqlite"
    path.write_bytes(b"not a registry")
    folder = run("rounds=2")
    assert folder.status["state"] == "complete"
    assert len(folder.rounds()) == 2
    (notice,) = folder.notices
    assert "does not learn of this run" in notice
    assert str(path) in notice
    assert "move it away" in notice
    assert path.read_bytes() == b"not a registry"
    with pytest.raises(RegistryError):
        run("defence.remember=true")  # it cannot know whom to leave out


def test_a_round_that_could_not_be_recorded_is_recorded_at_the_end(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = Registry.record, []

    def record(self: Registry, *arguments: object) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise RegistryError("another process holds the registry", where="there", mend="wait")
        real(self, *arguments)

    monkeypatch.setattr(Registry, "record", record)
    with FleetMemory(folder) as memory:
        for number in (1, 2):
            verdicts = [Verdict(number, "writer-00", Action.ACCEPT)]
            _finish(folder, number, verdicts)
            memory.take(done(), number, number, verdicts)
    assert outcomes(tmp_path) == [("writer-00", 1, "accept"), ("writer-00", 2, "accept")]
    assert folder.notices == ()


def eventually(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + 180
    while not holds() and time.monotonic() < end:
        time.sleep(0.005)
    return holds()


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[int]]]:
    """A registry that refuses tries of the given numbers; the rounds of each try, none where it was refused."""
    real = Registry.record

    def refuse(*tries: int, error: Exception | None = None) -> list[list[int]]:
        taken: list[list[int]] = []

        def record(self: Registry, scope: Scope, run: str, rounds: list[JudgedRound]) -> None:
            if len(taken) in tries:
                taken.append([])
                raise error or RegistryError("another process holds the registry", where="there", mend="wait")
            real(self, scope, run, rounds)
            taken.append([judged.number for judged in rounds])

        monkeypatch.setattr(Registry, "record", record)
        return taken

    return refuse


def test_what_could_not_be_recorded_is_recorded_with_the_next_round(
    folder: RunFolder, tmp_path: Path, refusing: Callable[..., list[list[int]]]
) -> None:
    def reaches(tries: int) -> bool:
        return len(taken) >= tries

    taken = refusing(0, 1)
    with FleetMemory(folder) as memory:
        for number in (1, 2, 3):
            verdicts = [Verdict(number, "writer-00", Action.ACCEPT)]
            _finish(folder, number, verdicts)
            memory.take(done(), number, number, verdicts)
            assert eventually(functools.partial(reaches, number))
        assert eventually(lambda: taken == [[], [], [1], [2, 3]])
    assert [number for _, number, _ in outcomes(tmp_path)] == [1, 2, 3]
    assert folder.notices == ()


def test_rounds_of_before_are_recorded_in_short_transactions_and_a_failure_costs_only_the_rest(
    folder: RunFolder, refusing: Callable[..., list[list[int]]]
) -> None:
    for number in range(1, 101):
        _finish(folder, number, [Verdict(number, "writer-00", Action.ACCEPT)])
    taken = refusing(1)
    with FleetMemory(folder) as memory:
        memory.catch_up()
    assert [number for rounds in taken for number in rounds] == [*range(1, 101)]
    assert max(map(len, taken)) <= 32


def test_a_run_that_is_interrupted_records_what_was_missing_or_tells_it(
    folder: RunFolder, tmp_path: Path, refusing: Callable[..., list[list[int]]]
) -> None:
    def interrupted() -> None:
        with FleetMemory(folder) as memory:
            memory.take(done(), 1, 1, verdicts)
            raise KeyboardInterrupt

    verdicts = [Verdict(1, "writer-00", Action.ACCEPT)]
    _finish(folder, 1, verdicts)
    refusing(*range(10))
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    (notice,) = folder.notices
    assert "does not learn of this run: another process holds the registry" in notice
    refusing(0)
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert outcomes(tmp_path) == [("writer-00", 1, "accept")]


def test_a_full_disk_does_not_fail_a_run_for_its_registry(
    folder: RunFolder, refusing: Callable[..., list[list[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise DiskFullError("no space left on the device")

    refusing(*range(10), error=DiskFullError("no space left on the device"))
    tried = []
    monkeypatch.setattr(RunFolder, "notify", lambda _, what: (tried.append(what), full()))
    with FleetMemory(folder) as memory:
        memory.take(done(), 1, 1, [Verdict(1, "writer-00", Action.ACCEPT)])
    assert len(tried) == 1
    monkeypatch.setattr(Registry, "quarantined", full)
    with FleetMemory(folder) as memory:
        memory.excluded(WRITERS)
    assert len(tried) == 2


def test_a_round_that_the_disk_did_not_take_is_not_in_the_registry(folder: RunFolder, tmp_path: Path) -> None:
    with FleetMemory(folder) as memory:
        memory.take(done(), 1, 1, [Verdict(1, "writer-00", Action.ACCEPT)])
        memory.take(done(failed=True), 2, 2, [Verdict(2, "writer-00", Action.ACCEPT)])
    assert outcomes(tmp_path) == [("writer-00", 1, "accept")]


def test_rounds_that_come_faster_than_the_disk_share_a_transaction_and_none_waits_for_the_last(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, sizes, first = Registry.record, [], threading.Event()

    def record(self: Registry, scope: Scope, run: str, rounds: list[JudgedRound]) -> None:
        sizes.append(len(rounds))
        if len(sizes) == 1:
            first.wait(180)  # a slow disk
        real(self, scope, run, rounds)

    monkeypatch.setattr(Registry, "record", record)
    last = Job()
    with FleetMemory(folder) as memory:
        memory.take(done(), 1, 1, [Verdict(1, "writer-00", Action.ACCEPT)])
        while not sizes:
            time.sleep(0.001)
        for number in range(2, 10):
            memory.take(done(), number, number, [Verdict(number, "writer-00", Action.ACCEPT)])
        first.set()
        while len(sizes) < 2:
            time.sleep(0.001)
        memory.take(last, 10, 10, [Verdict(10, "writer-00", Action.ACCEPT)])  # its disk is still at it
        while len(outcomes(tmp_path)) < 9:
            time.sleep(0.001)
        last.do(lambda: None)
    assert sizes == [1, 8, 1]
    assert [number for _, number, _ in outcomes(tmp_path)] == [*range(1, 11)]


def test_a_fault_of_ours_in_the_registrys_thread_is_not_swallowed(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(Registry, "record", record)
    with pytest.raises(ZeroDivisionError), FleetMemory(folder) as memory:
        memory.take(done(), 1, 1, [Verdict(1, "writer-00", Action.ACCEPT)])


def test_who_is_left_out_is_settled_when_the_run_begins(tmp_path: Path) -> None:
    put_out(tmp_path, "writer-05", "writer-06")
    folder = remembering(tmp_path)
    with FleetMemory(folder) as memory:
        assert memory.excluded(WRITERS) == ("writer-05", "writer-06")
    registry = Registry(tmp_path)
    registry.appeal(registry.find("writer-05"), by="ada", why="found", now=system_clock(), restore=0.5)
    with FleetMemory(folder) as again:
        assert again.excluded(WRITERS) == ("writer-05", "writer-06")
    with FleetMemory(remembering(tmp_path)) as later:
        assert later.excluded(WRITERS) == ("writer-06",)
    with FleetMemory(remembering(tmp_path, "privacy.data=others")) as elsewhere:
        assert elsewhere.excluded(WRITERS) == ()


def test_a_scope_is_a_scenario_and_its_data() -> None:
    demo, devices = scope_of(default_scenario()), scope_of(load_scenario(Path("digits_devices"), ()))
    assert demo.name == "digits/digits"
    assert demo != devices
    assert demo == scope_of(default_scenario(["seed=3", "privacy.epsilon=1"]))


def test_a_fleet_with_too_few_left_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    folder = remembering(tmp_path)
    check_enough(folder, 11, 8)  # three rows, and nobody hostile left to tolerate
    with pytest.raises(RefusedError, match="11 of 11 devices are in quarantine") as error:
        check_enough(folder, 11, 11)
    assert error.value.reason == "too_few_left"
    strict = remembering(tmp_path, "defence.tolerate=5")
    check_enough(strict, 11, 0)
    with pytest.raises(RefusedError, match="a round has 4 updates left, and nnm"):
        check_enough(remembering(tmp_path, "defence.tolerate=9"), 11, 7)


def _finish(folder: RunFolder, number: int, verdicts: list[Verdict]) -> None:
    """The lines that a finished round leaves."""
    record = RoundRecord(number, 0.5, 1.0, 1.0, 1.0, ("writer-00",), (), {}, 1, 1, {}, "00", number)
    for name, lines in (("rounds.jsonl", [record]), ("verdicts.jsonl", verdicts)):
        with (folder.path / name).open("a") as file:
            file.writelines(json.dumps(line.to_json()) + "\n" for line in lines)
