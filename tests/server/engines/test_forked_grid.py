"""Devices in forked processes: the same answers in the same order, and nothing outlives the run."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from skerry.config import default_scenario
from skerry.device.app import RECORD
from skerry.errors import InputError, RunFailedError
from skerry.runfolder import RunFolder
from skerry.security.privacy.verification import verify_ledger
from skerry.server.checkpoint import load_checkpoint
from skerry.server.engines import Components, flwr_adapter, get_engine
from skerry.server.engines.forked_grid import ForkedGrid
from skerry.server.engines.inprocess import InProcessEngine
from skerry.server.launch import launch
from skerry.server.mailbox import exchange

from ._forked import NODES, app, ask, until, who


@pytest.fixture(autouse=True)
def identity():
    with flwr_adapter.task_identity(1):
        yield


def test_replies_come_in_order_and_each_node_stays_where_it_is(no_process_left: None) -> None:
    with ForkedGrid(app(who), NODES, processes=2) as grid:
        first = list(grid.send_and_receive(ask(grid, list(range(10)))))
        second = list(grid.send_and_receive(ask(grid, list(range(5)))))
    assert [reply.content["told"]["n"] for reply in first] == list(range(10))
    assert [reply.content["told"]["seen"] for reply in second] == [3] * 5
    places = [{reply.content["told"]["pid"] for reply in (*first, *second) if reply.metadata.src_node_id == node}
              for node in {reply.metadata.src_node_id for reply in first}]  # fmt: skip
    assert all(len(place) == 1 for place in places)
    assert len(set.union(*places)) == 2
    assert os.getpid() not in set.union(*places)


def test_a_device_that_fails_costs_its_own_reply(no_process_left: None) -> None:
    with ForkedGrid(app(who), NODES, processes=2) as grid:
        replies = list(grid.send_and_receive(ask(grid, [1, 13, 3])))
    assert [reply.has_error() for reply in replies] == [False, True, False]
    assert replies[1].error.reason == "the device's app failed (ValueError)"


def test_a_reply_that_cannot_be_sent_costs_its_device_alone(no_process_left: None) -> None:
    with ForkedGrid(app(who), NODES, processes=2) as grid:
        replies = list(grid.send_and_receive(ask(grid, [1, 70, 3])))
        assert [reply.has_error() for reply in replies] == [False, True, False]
        assert "the device's app failed" in replies[1].error.reason
        assert not any(reply.has_error() for reply in grid.send_and_receive(ask(grid, [4, 5])))


def test_why_it_cannot_be_sent_goes_to_the_local_log(echo: Components, make_run: Any, no_process_left: None) -> None:
    folder = make_run(2, do="unsendable", rounds=1)
    InProcessEngine(echo, processes=2).run(folder)
    assert "gave a reply that cannot be sent" in (folder.path / "logs" / "inprocess.log").read_text()


def test_no_reply_leaves_its_process_before_it_is_settled(no_process_left: None) -> None:
    def settle() -> None:
        raise OSError("/home/ann/ledger.jsonl")

    with ForkedGrid(app(who), NODES, processes=2, settle=settle) as grid:
        replies = list(grid.send_and_receive(ask(grid, [1, 2, 3])))
    assert [reply.error.reason for reply in replies] == ["the device's app failed (OSError)"] * 3


def test_what_fails_outside_of_an_app_is_told_by_its_name(no_process_left: None) -> None:
    with (
        ForkedGrid(app(who), NODES, processes=2) as grid,
        pytest.raises(RunFailedError, match="a process that answered for devices failed: KeyboardInterrupt"),
    ):
        list(grid.send_and_receive(ask(grid, [1, 50, 3])))


def test_a_system_without_another_process_leaves_none(no_process_left: None, monkeypatch: pytest.MonkeyPatch) -> None:
    forked: list[int] = []

    def fork() -> int:
        if len(forked) == 2:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        forked.append(child := real())
        return child

    real = os.fork
    monkeypatch.setattr(os, "fork", fork)
    grid = ForkedGrid(app(who), NODES, processes=4)
    with pytest.raises(RunFailedError, match="does not give another process"), grid:
        raise AssertionError("nobody answers")
    assert len(forked) == 2
    assert not any(psutil.pid_exists(child) for child in forked)


def test_ctrl_c_while_a_process_is_made_leaves_none(no_process_left: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes between the fork and the note of it, in both processes."""
    forked: list[int] = []

    def fork() -> int:
        child = real()
        if child:
            forked.append(child)
        os.kill(os.getpid(), signal.SIGINT)
        return child

    real = os.fork
    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(KeyboardInterrupt), ForkedGrid(app(who), NODES, processes=2):
        raise AssertionError("nobody answers")
    assert len(forked) == 1
    assert not psutil.pid_exists(forked[0])


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_of_two_signals_while_a_process_is_made_neither_is_lost(
    first: signal.Signals, no_process_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one comes in the moment in which the first may be heeded again."""
    other = signal.SIGTERM if first is signal.SIGINT else signal.SIGINT
    heeded: list[int] = []

    def heed(number: int, _: object) -> None:
        heeded.append(number)
        raise KeyboardInterrupt

    def fork() -> int:
        if child := real():
            os.kill(os.getpid(), first)
        return child

    def put_back(number: int, handler: Any) -> Any:
        before = plain(number, handler)
        if number == first and handler is heed:
            os.kill(os.getpid(), other)
        return before

    real, plain = os.fork, signal.signal
    handlers = {one: signal.signal(one, heed) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fork", fork)
            patch.setattr(signal, "signal", put_back)
            with pytest.raises(KeyboardInterrupt), ForkedGrid(app(who), NODES, processes=2):
                raise AssertionError("nobody answers")
        assert sorted(heeded) == sorted([first, other])
        assert {one: signal.getsignal(one) for one in handlers} == dict.fromkeys(handlers, heed)
    finally:
        for one, handler in handlers.items():
            signal.signal(one, handler)


def test_a_handler_that_python_did_not_install_is_left_alone(
    no_process_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a program that has Python within it: Python says ``None`` of its handler, and cannot put it back."""
    me, replaced = os.getpid(), []

    def replace(number: int, handler: Any) -> Any:
        replaced.extend([number] if os.getpid() == me else [])
        return plain(number, handler)

    known, plain = signal.getsignal, signal.signal
    monkeypatch.setattr(signal, "getsignal", lambda number: None if number == signal.SIGTERM else known(number))
    monkeypatch.setattr(signal, "signal", replace)
    with ForkedGrid(app(who), NODES, processes=2) as grid:
        assert len(list(grid.send_and_receive(ask(grid, [1, 2])))) == 2
    assert set(replaced) == {signal.SIGINT}


def test_a_process_that_dies_is_told_and_takes_nobody_along(no_process_left: None) -> None:
    with (
        ForkedGrid(app(who), NODES, processes=2) as grid,
        pytest.raises(RunFailedError, match="a process that answered for devices has ended"),
    ):
        list(grid.send_and_receive(ask(grid, [1, 99, 3])))


def test_first_replies_are_there_while_others_are_made(no_process_left: None, tmp_path: Path) -> None:
    def wait(asked: ConfigRecord, _: Context) -> dict[str, Any]:
        if asked["n"] > 1:
            until(tmp_path / "looked")
        return {"n": asked["n"]}

    contents = {str(n): (2 + n % 2, {"n": n}) for n in range(8)}
    node = ClientApp()

    @node.train()
    def train(message: Message, context: Context) -> Message:
        fields = wait(message.content[RECORD], context)
        return Message(RecordDict({RECORD: ConfigRecord(fields)}), reply_to=message)

    came: list[str] = []
    with ForkedGrid(node, NODES[:2], processes=2) as grid:
        for key, record in exchange(grid, contents, "train", deadline_s=180):
            (tmp_path / "looked").touch()
            assert record is not None
            assert str(record["n"]) == key
            came.append(key)
    assert sorted(came) == sorted(contents)


def test_who_is_not_waited_for_is_killed_before_its_pipe_is_closed(
    no_process_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it has an answer that nobody takes, and complains of that after Ctrl-C."""
    ends: list[int] = []

    def later(part: bytes) -> bytes:
        time.sleep(0.3)
        return part

    def waitpid(pid: int, options: int) -> tuple[int, int]:
        if options == 0:
            time.sleep(0.6)  # others have an answer meanwhile
        found = real(pid, options)
        ends.append(found[1])
        return found

    def broken_off() -> None:
        with ForkedGrid(app(who), NODES, processes=2, chores={"later": later}) as grid:
            grid.ask_nodes("later", lambda _: b"", grid.get_node_ids())
            raise KeyboardInterrupt

    real = os.waitpid
    with monkeypatch.context() as patch:
        patch.setattr(os, "waitpid", waitpid)
        with pytest.raises(KeyboardInterrupt):
            broken_off()
    assert [status for status in ends if status] == [signal.SIGKILL] * 2


def test_a_second_ctrl_c_while_devices_come_to_an_end_leaves_none(no_process_left: None, tmp_path: Path) -> None:
    parent = os.getpid()

    @contextmanager
    def holding() -> Iterator[None]:
        yield
        with suppress(FileExistsError):
            (tmp_path / "sent").mkdir()  # by the first of them alone
            os.kill(parent, signal.SIGINT)
        time.sleep(600)

    grid = ForkedGrid(app(who), NODES, processes=2, holding=holding)
    with pytest.raises(KeyboardInterrupt), grid:
        assert len(list(grid.send_and_receive(ask(grid, [1, 2])))) == 2
    assert grid.hands == 0


def test_what_is_no_number_of_processes_is_refused() -> None:
    with pytest.raises(InputError):
        ForkedGrid(app(who), NODES, processes=0)
    for engine, processes in (("ray", 2), ("inprocess", 0), ("fleet", 3)):
        with pytest.raises(InputError, match="processes of its own"):
            get_engine(engine, processes=processes)


def test_a_coordinator_that_fails_leaves_no_process(echo: Components, make_run: Any, no_process_left: None) -> None:
    with pytest.raises(RuntimeError, match="told to fail"):
        InProcessEngine(echo, processes=2).run(make_run(3, then="fail"))


PROGRAM = """
import os, sys, time
from flwr.app import Message, RecordDict, ConfigRecord
from flwr.clientapp import ClientApp
from skerry.server.engines import flwr_adapter
from skerry.server.engines.forked_grid import ForkedGrid
app = ClientApp()
@app.train()
def train(message, context):
    os.write(1, f"{os.getpid()}\\n".encode())  # at once: the other one writes there too
    time.sleep(600)
with flwr_adapter.task_identity(1), ForkedGrid(app, [{}, {}], processes=2) as grid:
    list(grid.send_and_receive([Message(RecordDict({"a": ConfigRecord({})}), n, "train") for n in grid.get_node_ids()]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere processes end when they have answered")
def test_by_sigkill_too_they_end_with_the_run() -> None:
    run = subprocess.Popen([sys.executable, "-c", textwrap.dedent(PROGRAM)], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    children = [psutil.Process(int(run.stdout.readline())) for _ in range(2)]
    run.kill()
    run.wait(180)
    deadline = time.monotonic() + 180
    while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_run_ends_with_the_same_vector_to_the_last_bit(tmp_path: Path) -> None:
    settings = ("rounds=2", "training.epochs=1", "report.references=false")
    runs: list[RunFolder] = [
        launch(default_scenario(settings), engine="inprocess", parent=tmp_path / str(n), processes=n) for n in (1, 2)
    ]
    vectors = [load_checkpoint(run).vector for run in runs]
    assert np.array_equal(*vectors)
    assert vectors[0].any()
    own = [run.result["quality"]["devices"] for run in runs]
    assert own[0] == own[1]
    assert sum(row["role"] == "training" for row in own[0].values()) == 11
    assert any(row["before"] != row["after"] for row in own[0].values())
    accepted = [[record.accepted for record in run.rounds()] for run in runs]
    assert accepted[0] == accepted[1]
    for path in (runs[1].path / "ledger" / "devices").glob("*.jsonl"):
        assert not verify_ledger(path, pld=False).problems
