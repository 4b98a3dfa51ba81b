"""A run's registry in a process of its own: the same rows and the same words, and no result lost with the process."""

import os
import signal
import sqlite3
import sys
import threading
import time
from multiprocessing import Pipe
from pathlib import Path

import psutil
import pytest

from skerry.config import default_scenario
from skerry.errors import InputError, RegistryError
from skerry.forking import Forked
from skerry.records import Action, Verdict
from skerry.runfolder import RunFolder
from skerry.server import run_clerk
from skerry.server.launch import launch
from skerry.server.registry import Registry, scope_of
from skerry.server.remember import FleetMemory
from skerry.server.run_clerk import Clerk, clerk_beside, report
from skerry.server.run_registry import Judged, RegistryBeside, RegistryHere, registry_of
from skerry.syncer import Job

SHORT = ["rounds=2", "training.epochs=1", "report.references=false"]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, default_scenario(SHORT), engine="inprocess")


def rows(parent: Path) -> list[tuple[str, int]]:
    with sqlite3.connect(parent / "registry.sqlite") as base:
        return sorted(base.execute("select d.name, o.round from outcome o join device d on d.id = o.device").fetchall())


def judged(number: int) -> Judged:
    return Judged(number, number, (Verdict(number, "writer-00", Action.ACCEPT),))


def children() -> set[int]:
    return {process.pid for process in psutil.Process().children()}


def test_rounds_are_recorded_by_the_other_process(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    by: Path = folder.path / "by"
    real = Registry.record

    def record(self: Registry, *arguments: object) -> None:
        by.write_text(str(os.getpid()))
        real(self, *arguments)

    monkeypatch.setattr(Registry, "record", record)
    before = children()
    with clerk_beside():
        (other,) = children() - before
        registry = registry_of(folder)
        registry.record([judged(1), judged(2)])
        assert registry.quarantined() == set()
    assert by.read_text() == str(other)
    assert rows(folder.path.parent) == [("writer-00", 1), ("writer-00", 2)]
    assert children() == before


def test_what_the_registry_raises_there_is_raised_here(folder: RunFolder) -> None:
    path = folder.path.parent / "registry.sqlite"
    path.write_bytes(b"not a registry")
    with clerk_beside():
        with pytest.raises(RegistryError) as caught:
            registry_of(folder).record([judged(1)])
        assert caught.value.where == str(path)
        path.unlink()
        registry_of(folder).record([judged(1)])
    assert rows(folder.path.parent) == [("writer-00", 1)]


def test_a_process_that_has_died_costs_no_round(folder: RunFolder) -> None:
    before = children()
    with clerk_beside():
        registry = registry_of(folder)
        registry.record([judged(1)])
        (other,) = children() - before
        os.kill(other, signal.SIGKILL)
        registry.record([judged(1), judged(2)])
        registry.record([judged(3)])
    assert rows(folder.path.parent) == [("writer-00", number) for number in (1, 2, 3)]


def test_an_answer_that_was_not_waited_for_is_taken_for_no_other(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = os.getpid()
    real = Registry.quarantined

    def quarantined(self: Registry, *arguments: object) -> object:
        if os.getpid() != parent:
            os.kill(parent, signal.SIGINT)
        return real(self, *arguments)

    monkeypatch.setattr(Registry, "quarantined", quarantined)
    Registry(folder.path.parent).record(scope_of(folder.scenario), "earlier", [])
    with clerk_beside():
        registry = registry_of(folder)
        with pytest.raises(KeyboardInterrupt):
            registry.quarantined()
        assert registry.record([judged(1)]) is None
        assert registry.quarantined() == set()
    assert rows(folder.path.parent) == [("writer-00", 1)]


@pytest.mark.parametrize("late_s", [0.0, 0.3], ids=["an answer that nobody reads", "nobody to answer"])
def test_a_process_whose_answer_nobody_wants_any_more_does_not_fail(
    late_s: float, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, ends = os.getpid(), []
    real, plain = Registry.quarantined, os.waitpid

    def quarantined(self: Registry, *arguments: object) -> object:
        os.kill(parent, signal.SIGINT)
        time.sleep(late_s)
        return real(self, *arguments)

    def waitpid(pid: int, options: int) -> tuple[int, int]:
        ends.append(plain(pid, options))
        return ends[-1]

    monkeypatch.setattr(Registry, "quarantined", quarantined)
    monkeypatch.setattr(os, "waitpid", waitpid)
    with clerk_beside():
        with pytest.raises(KeyboardInterrupt):
            registry_of(folder).quarantined()
        time.sleep(0.3 - late_s)
    assert [status for _, status in ends] == [0]


def test_a_process_that_dies_within_an_answer_is_gone(folder: RunFolder) -> None:
    mine, its = Pipe()

    def answer() -> None:
        its.recv_bytes()
        os.write(its.fileno(), (1000).to_bytes(4, "big") + b"of which there is hardly more")
        its.close()

    thread = threading.Thread(target=answer)
    thread.start()
    assert RegistryBeside(folder, Clerk(Forked(os.getpid(), mine))).quarantined() == set()
    thread.join()
    mine.close()


def test_a_runs_memory_uses_the_process_and_this_one_loads_no_library(folder: RunFolder) -> None:
    with clerk_beside(), FleetMemory(folder) as memory:
        assert memory._registry is not None
        assert isinstance(memory._registry, RegistryBeside)
        memory.take(Job().do(lambda: None), 1, 1, judged(1).verdicts)
    assert rows(folder.path.parent) == [("writer-00", 1)]
    with FleetMemory(folder) as later:
        assert isinstance(later._registry, RegistryHere)


def test_a_run_in_two_processes_is_in_the_registry_as_one_in_one(tmp_path: Path) -> None:
    found = []
    for processes in (1, 2):
        parent = tmp_path / str(processes)
        before = children()
        launch(default_scenario(SHORT), engine="inprocess", parent=parent, processes=processes)
        assert children() == before
        found.append((rows(parent), set(Registry(parent).quarantined(scope_of(default_scenario(SHORT))))))
    assert found[0] == found[1]
    assert found[0][0]


def test_the_report_is_the_same_whoever_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = launch(default_scenario(SHORT), engine="inprocess", parent=tmp_path)
    path = run.path / "report.html"
    here = path.read_bytes()
    path.unlink()
    with clerk_beside(), monkeypatch.context() as patch:
        patch.setattr("skerry.server.report.write_report", lambda _: pytest.fail("written here"))
        report(run)
    assert path.read_bytes() == here
    path.unlink()
    before = children()
    with clerk_beside():
        (other,) = children() - before
        os.kill(other, signal.SIGKILL)
        report(run)
    assert path.read_bytes() == here
    (run.path / "result.json").write_text("{}")
    with clerk_beside(), pytest.raises(InputError):
        report(run)


def test_what_it_loads_before_it_is_asked_leaves_the_processors_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    priorities: list[int] = []
    asked = threading.Event()

    def load(_: str) -> None:
        priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        if len(priorities) == 2:
            asked.set()

    monkeypatch.setattr(run_clerk, "import_module", load)
    before = os.getpriority(os.PRIO_PROCESS, 0)
    thread = threading.Thread(target=run_clerk._load, args=(asked,))
    thread.start()
    thread.join()
    assert len(priorities) == 2, "it went on after it was asked"
    if sys.platform == "linux":
        assert min(priorities) == min(19, before + 10)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_what_cannot_be_loaded_is_told_where_it_is_asked_for(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "skerry.server.report", None)
        patch.setattr(run_clerk, "_NEEDED", ("skerry.server.report",))
        patch.setattr(threading, "excepthook", threading.__excepthook__)  # pytest's says nothing in a child
        with clerk_beside():
            time.sleep(0.3)  # it has failed to load it before it is asked
            registry_of(folder).record([judged(1)])
            with pytest.raises(ImportError):
                report(folder)
    assert rows(folder.path.parent) == [("writer-00", 1)]
    assert capfd.readouterr().err == ""


PROGRAM = """
import sys
from pathlib import Path
from skerry.config import default_scenario
from skerry.server.launch import launch
assert "flwr" not in sys.modules
launch(default_scenario(["rounds=1", "training.epochs=1", "report.references=false"]), engine="inprocess",
       parent=Path(sys.argv[1]), processes=2)
print({"sqlalchemy", "jinja2"} & sys.modules.keys())
"""


def test_a_run_in_several_processes_does_not_load_the_registrys_library_where_it_is_conducted(tmp_path: Path) -> None:
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.stdout.strip() == "set()", done.stderr
    assert rows(tmp_path)
