"""A run that a signal stops is interrupted, whatever becomes of the signal on its way."""

import gc
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest

from skerry.collecting import IN_A_RUN
from skerry.config import default_scenario
from skerry.errors import InterruptedRunError
from skerry.forking import Beside
from skerry.runfolder import RunFolder, State, list_runs
from skerry.server import launch as launching
from skerry.server import prepare as prepare_module
from skerry.server import rounds as rounds_module
from skerry.server.launch import launch, resume

SHORT = default_scenario(["rounds=1", "training.epochs=1", "report.references=false"])


@pytest.fixture(autouse=True)
def handlers():
    """Those of a program's start, whatever started this one; and they are there again afterwards."""
    given = signal.signal(signal.SIGINT, signal.default_int_handler)
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    yield
    found = {one: signal.getsignal(one) for one in before}
    signal.signal(signal.SIGINT, given)
    assert found == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_a_library_takes_for_its_own_failure_stops_the_run_all_the_same(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a module written in C does while it is imported."""

    def load(*_: object) -> NoReturn:
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        raise ImportError("initialization failed")

    with monkeypatch.context() as patch:
        patch.setattr(launching, "prepare", load)
        with pytest.raises(InterruptedRunError, match="after 0 of 1 rounds"):
            launch(SHORT, engine="inprocess", parent=tmp_path)
    (run,) = list_runs(tmp_path)
    assert run.state == "interrupted"
    resume(run.id, parent=tmp_path)
    assert run.state == "complete"


def test_a_round_that_fails_for_what_a_library_makes_of_a_signal_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one written in Rust does, which hears that a mapping is none."""

    def draw(*_: object) -> NoReturn:
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        raise ValueError("cannot encode type mappingproxy")

    with monkeypatch.context() as patch:
        patch.setattr(rounds_module, "draw_cohort", draw)
        with pytest.raises(InterruptedRunError):
            launch(SHORT, engine="inprocess", parent=tmp_path)
    (run,) = list_runs(tmp_path)
    assert (run.state, run.status["error"]["what"]) == ("interrupted", "the run was interrupted")
    resume(run.id, parent=tmp_path)
    assert run.state == "complete"


@pytest.mark.parametrize(("rounds", "done"), [(2, 1), (1, 1)])
def test_a_signal_that_is_dropped_on_its_way_stops_the_run_after_the_round(
    rounds: int, done: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a callback within a module written in C, which can raise nothing."""
    real = rounds_module.draw_cohort

    def draw(*given: Any) -> Any:
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        return real(*given)

    scenario = SHORT.model_copy(update={"rounds": rounds})
    with monkeypatch.context() as patch:
        patch.setattr(rounds_module, "draw_cohort", draw)
        with pytest.raises(InterruptedRunError, match=f"after {done} of {rounds} rounds"):
            launch(scenario, engine="inprocess", parent=tmp_path)
    (run,) = list_runs(tmp_path)
    assert run.state == "interrupted"
    resume(run.id, parent=tmp_path)
    assert (run.state, len(run.rounds())) == ("complete", rounds)


def test_a_fleet_is_not_made_any_more_when_ctrl_c_comes_as_its_making_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the very instant: who goes on with the run would make the fleet beside it."""
    real, calls = Beside.__exit__, []

    def hurried(beside: Beside, *given: Any) -> None:
        calls.append(given)
        if len(calls) == 1:
            raise KeyboardInterrupt
        real(beside, *given)

    before = {process.pid for process in psutil.Process().children()}
    with monkeypatch.context() as patch:
        patch.setattr(Beside, "__exit__", hurried)
        patch.setattr(prepare_module, "provision_fleet", lambda *_, **__: time.sleep(600))
        with pytest.raises(InterruptedRunError):
            launch(SHORT, engine="inprocess", parent=tmp_path, processes=2)
    left = [process for process in psutil.Process().children() if process.pid not in before]
    for process in left:
        process.kill()
    assert not left


def test_a_second_ctrl_c_while_the_first_is_written_down_leaves_no_run_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This program lives on, and with it a run of which nobody has said that it ended."""
    real = RunFolder.mark

    def mark(folder: RunFolder, state: State, **named: Any) -> None:
        if state == "interrupted":
            os.kill(os.getpid(), signal.SIGINT)
        real(folder, state, **named)

    def load(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(launching, "prepare", load)
        patch.setattr(RunFolder, "mark", mark)
        with pytest.raises(InterruptedRunError):
            launch(SHORT, engine="inprocess", parent=tmp_path)
    (run,) = list_runs(tmp_path)
    assert run.state == "interrupted"
    resume(run.id, parent=tmp_path)
    assert run.state == "complete"


def test_what_fails_without_a_signal_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> NoReturn:
        raise ImportError("initialization failed")

    monkeypatch.setattr(launching, "prepare", load)
    with pytest.raises(ImportError):
        launch(SHORT, engine="inprocess", parent=tmp_path)
    (run,) = list_runs(tmp_path)
    assert run.state == "failed"


def test_who_does_not_hear_ctrl_c_does_not_hear_it_within_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> NoReturn:
        os.kill(os.getpid(), signal.SIGINT)
        raise ImportError("it went on")

    monkeypatch.setattr(launching, "prepare", load)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(ImportError, match="it went on"):
            launch(SHORT, engine="inprocess", parent=tmp_path)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("processes", [1, 2])
def test_cycles_are_looked_for_seldom_while_a_run_is_loaded_and_as_before_when_it_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    found: list[tuple[int, int, int]] = []

    def load(*_: object, **__: object) -> NoReturn:
        found.append(gc.get_threshold())
        raise ImportError("no more is needed")

    monkeypatch.setattr(launching, "prepare", load)
    before = gc.get_threshold(), gc.get_freeze_count()
    with pytest.raises(ImportError):
        launch(SHORT, engine="inprocess", parent=tmp_path, processes=processes)
    (run,) = list_runs(tmp_path)
    with pytest.raises(ImportError):
        resume(run.id, parent=tmp_path, processes=processes)
    assert found == [IN_A_RUN, IN_A_RUN]
    assert (gc.get_threshold(), gc.get_freeze_count()) == before
