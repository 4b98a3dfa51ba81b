"""The in-process engine keeps a grid's promises: order, isolation, deadlines, and one bad device costs only itself."""

import gc
import itertools
import json
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from threadpoolctl import threadpool_info, threadpool_limits

from skerry.errors import InputError, MissingDependencyError
from skerry.runfolder import RunFolder
from skerry.server.engines import ENGINES, Components, flwr_adapter, get_engine, inprocess_grid
from skerry.server.engines.inprocess import InProcessEngine
from skerry.server.engines.inprocess_grid import InProcessGrid

NODES = [{"partition-id": index} for index in range(5)]


@pytest.fixture(autouse=True)
def identity() -> Any:
    with flwr_adapter.task_identity(1):
        yield


def client(answer: Callable[[Message, Context], Message | None]) -> ClientApp:
    app = ClientApp()
    app.train()(answer)  # type: ignore[arg-type]
    return app


def told(value: int, node: int, *, ttl: float | None = None) -> Message:
    return Message(RecordDict({"r": ConfigRecord({"value": value})}), node, "train", ttl=ttl)


def echo(message: Message, context: Context) -> Message:
    value = int(message.content["r"]["value"])
    return Message(RecordDict({"r": ConfigRecord({"value": value, "node": context.node_id})}), reply_to=message)


def values(replies: list[Message]) -> list[int]:
    return [int(reply.content["r"]["value"]) for reply in replies]


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_replies_come_in_the_order_of_their_messages(workers: int) -> None:
    turns = itertools.cycle([0.003, 0.0, 0.001])
    gate = threading.Event()

    def slow(message: Message, context: Context) -> Message:
        gate.wait(next(turns))
        return echo(message, context)

    grid = InProcessGrid(client(slow), NODES, workers=workers)
    nodes = list(grid.get_node_ids())
    replies = grid.send_and_receive([told(i, nodes[i % 5]) for i in range(40)])
    assert values(replies) == list(range(40))
    assert [r.metadata.src_node_id for r in replies] == [nodes[i % 5] for i in range(40)]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_node_never_handles_two_messages_at_once(workers: int) -> None:
    inside: set[int] = set()
    together: list[int] = []
    gate = threading.Event()

    def busy(message: Message, context: Context) -> Message:
        if context.node_id in inside:
            together.append(context.node_id)
        inside.add(context.node_id)
        gate.wait(0.002)
        inside.discard(context.node_id)
        return echo(message, context)

    grid = InProcessGrid(client(busy), NODES, workers=workers)
    assert len(grid.send_and_receive([told(i, n) for n in grid.get_node_ids() for i in range(4)])) == 20
    assert not together


def test_push_and_pull_give_each_reply_once_and_say_what_it_answers() -> None:
    grid = InProcessGrid(client(echo), NODES)
    ids = grid.push_messages([told(10, 2), told(11, 3)])
    assert len(set(ids)) == 2
    first = grid.pull_messages(ids[1:])
    assert values(first) == [11]
    assert first[0].metadata.reply_to_message_id == ids[1]
    assert first[0].metadata.dst_node_id == flwr_adapter.COORDINATOR_NODE
    assert values(grid.pull_messages(ids)) == [10]
    assert grid.pull_messages(ids) == []
    assert grid.pull_messages(["never sent"]) == []


def test_nothing_is_run_before_it_is_pulled() -> None:
    calls: list[int] = []

    def count(message: Message, context: Context) -> Message:
        calls.append(1)
        return echo(message, context)

    grid = InProcessGrid(client(count), NODES)
    ids = grid.push_messages([told(1, 2), told(2, 2)])
    assert not calls
    grid.pull_messages(ids[:1])
    assert len(calls) == 1


SECRET = "patient 17 has label 3"


@pytest.mark.parametrize("fault", [ValueError(SECRET), MemoryError(SECRET), SystemExit(SECRET), RecursionError(SECRET)])
def test_a_failing_device_costs_only_its_own_reply_and_its_text_stays_here(fault: BaseException) -> None:
    def some(message: Message, context: Context) -> Message:
        if context.node_id == 3:
            raise fault
        return echo(message, context)

    grid = InProcessGrid(client(some), NODES)
    replies = grid.send_and_receive([told(i, n) for i, n in enumerate(grid.get_node_ids())])
    assert [reply.has_error() for reply in replies] == [False, True, False, False, False]
    assert replies[1].error.code == flwr_adapter.ErrorKind.APP_FAILED
    assert type(fault).__name__ in str(replies[1].error.reason)
    assert "patient" not in repr(replies[1])


def test_an_answer_that_is_no_message_is_an_error_of_that_device() -> None:
    grid = InProcessGrid(client(lambda m, c: None), NODES)
    (reply,) = grid.send_and_receive([told(1, 2)])
    assert reply.has_error()


def test_a_message_type_without_a_handler_is_an_error_of_that_device() -> None:
    grid = InProcessGrid(client(echo), NODES)
    (reply,) = grid.send_and_receive([Message(RecordDict({"r": ConfigRecord({})}), 2, "query.identify")])
    assert reply.has_error()


def test_ctrl_c_in_a_device_stops_the_round() -> None:
    def stop(message: Message, context: Context) -> Message:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        InProcessGrid(client(stop), NODES).send_and_receive([told(1, 2)])


def test_an_unknown_node_is_answered_as_by_a_superlink() -> None:
    (reply,) = InProcessGrid(client(echo), NODES).send_and_receive([told(1, 99)])
    assert reply.error.code == flwr_adapter.ErrorKind.NODE_UNAVAILABLE


def test_a_nodes_state_lives_across_rounds_and_is_its_own() -> None:
    def count(message: Message, context: Context) -> Message:
        seen = int(context.state["n"]["n"]) + 1 if "n" in context.state else 1
        context.state["n"] = ConfigRecord({"n": seen})
        return Message(RecordDict({"r": ConfigRecord({"value": seen})}), reply_to=message)

    grid = InProcessGrid(client(count), NODES)
    for expected in (1, 2, 3):
        assert values(grid.send_and_receive([told(0, 2), told(0, 3)])) == [expected, expected]
    assert values(grid.send_and_receive([told(0, 4)])) == [1]


def test_what_a_device_does_to_its_instruction_is_seen_by_nobody_else() -> None:
    def scribble(message: Message, context: Context) -> Message:
        reply = echo(message, context)
        message.content["r"]["value"] = -1
        message.content["mine"] = ConfigRecord({})
        return reply

    shared = RecordDict({"r": ConfigRecord({"value": 5})})
    grid = InProcessGrid(client(scribble), NODES)
    replies = grid.send_and_receive([Message(shared, node, "train") for node in grid.get_node_ids()])
    assert values(replies) == [5] * 5
    assert dict(shared["r"]) == {"value": 5}
    assert list(shared) == ["r"]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_after_the_deadline_nothing_is_started_and_a_late_reply_is_withheld() -> None:
    clock = Clock()
    calls: list[int] = []

    def slow(message: Message, context: Context) -> Message:
        calls.append(context.node_id)
        clock.now += 1.0
        return echo(message, context)

    grid = InProcessGrid(client(slow), NODES, monotonic=clock)
    assert values(grid.send_and_receive([told(i, n) for i, n in enumerate(grid.get_node_ids())], timeout=2.5)) == [0, 1]
    assert calls == [2, 3, 4]
    assert values(grid.send_and_receive([told(9, 2)], timeout=2.5)) == [9]


def test_a_message_is_not_delivered_after_its_time_to_live() -> None:
    import time

    clock = Clock()
    clock.now = time.time()
    grid = InProcessGrid(client(echo), NODES, clock=clock)
    ids = grid.push_messages([told(1, 2, ttl=5.0), told(2, 2, ttl=50.0)])
    clock.now += 10.0
    late, early = grid.pull_messages(ids)
    assert late.error.code == flwr_adapter.ErrorKind.EXPIRED
    assert values([early]) == [2]


def test_it_is_a_flower_grid() -> None:
    grid = InProcessGrid(client(echo), NODES)
    assert isinstance(grid, Grid)
    assert [node.node_id for node in grid.get_nodes()] == [2, 3, 4, 5, 6]
    assert grid.run.run_id == 1
    other = flwr_adapter.empty_run(8)
    grid.set_run(other)
    assert grid.run is other
    assert grid.create_message(RecordDict(), "train", 2, "7").metadata.group_id == "7"
    with pytest.raises(InputError):
        InProcessGrid(client(echo), NODES, workers=0)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_engine_runs_one_node_per_device_with_its_own_home(
    echo: Components, make_run: Any, seen: Any, workers: int
) -> None:
    folder = make_run(3, rounds=2)
    InProcessEngine(echo, workers=workers).run(folder)
    first, second = seen(folder)["rounds"]
    assert [(r["home"], r["partition"], r["seen"]) for r in first["replies"]] == [
        ("writer-00", 0, 1),
        ("writer-01", 1, 1),
        ("writer-02", 2, 1),
    ]
    assert [(r["seen"], r["twice"]) for r in second["replies"]] == [(2, 2)] * 3
    assert {r["pid"] for r in first["replies"]} == {os.getpid()}


def test_what_the_coordinator_raises_passes_through(echo: Components, make_run: Any) -> None:
    with pytest.raises(RuntimeError, match="told to fail"):
        InProcessEngine(echo).run(make_run(1, then="fail"))


def test_cycles_are_looked_for_afterwards_as_they_were_before(
    echo: Components, make_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    within: list[tuple[bool, int]] = []

    class Looking(InProcessGrid):
        def get_node_ids(self) -> list[int]:
            within.append((gc.get_threshold()[0] > before[0], gc.get_freeze_count()))
            return super().get_node_ids()

    monkeypatch.setattr(inprocess_grid, "InProcessGrid", Looking)
    with pytest.raises(RuntimeError, match="told to fail"):
        InProcessEngine(echo).run(make_run(1, then="fail"))
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, frozen)
    assert all(seldom and kept > frozen for seldom, kept in within)
    assert within


def test_a_devices_exception_goes_to_the_local_log(
    echo: Components, make_run: Any, seen: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = make_run(1, do="raise", rounds=1)
    InProcessEngine(echo).run(folder)
    assert "private" not in json.dumps(seen(folder))
    assert "a private label" in (folder.path / "logs" / "inprocess.log").read_text()
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_a_folder_without_a_fleet_is_bad_input(echo: Components, make_run: Any) -> None:
    folder: RunFolder = make_run(0)
    with pytest.raises(InputError, match="no prepared devices"):
        InProcessEngine(echo).run(folder)


def test_a_missing_package_of_an_app_is_named(make_run: Any) -> None:
    with pytest.raises(MissingDependencyError, match="not_there"):
        InProcessEngine(Components("not_there.app:app", "not_there.app:app")).run(make_run(1))


def test_engines_are_found_by_name_and_an_unknown_one_is_bad_input() -> None:
    assert ENGINES == ("inprocess", "ray", "superlink", "fleet")
    assert [get_engine(name).name for name in ENGINES] == list(ENGINES)
    with pytest.raises(InputError, match="no engine 'kubernetes'") as refused:
        get_engine("kubernetes")
    assert "inprocess, ray, superlink, fleet" in (refused.value.mend or "")


@pytest.mark.parametrize("workers", [1, 2])
def test_no_reply_leaves_before_what_it_rests_on_is_settled(workers: int) -> None:
    happened: list[str] = []

    def noted(message: Message, context: Context) -> Message:
        happened.append("answer")
        return echo(message, context)

    def settle() -> None:
        happened.append("settle")
        if happened.count("settle") == 2:
            raise OSError("/home/ann/ledger.jsonl")

    grid = InProcessGrid(client(noted), NODES, workers=workers, settle=settle)
    nodes = list(grid.get_node_ids())
    assert values(grid.send_and_receive([told(i, nodes[i]) for i in range(3)])) == [0, 1, 2]
    replies = grid.send_and_receive([told(i, nodes[i]) for i in range(3)])
    assert happened == (["answer"] * 3 + ["settle"]) * 2
    assert [reply.has_error() for reply in replies] == [True] * 3
    assert all("OSError" in reply.error.reason and "ann" not in reply.error.reason for reply in replies)


def test_the_package_is_light_to_import() -> None:
    import subprocess
    import sys

    code = "import sys, skerry.server.engines; assert not {'flwr', 'ray', 'psutil', 'httpx'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=180)


def test_a_simulation_is_launched_without_the_libraries_of_fleets() -> None:
    import subprocess
    import sys

    code = (
        "import sys, skerry.server.launch, skerry.server.engines.inprocess;"
        "assert not {'sqlalchemy', 'tuf', 'psutil', 'cryptography.x509', 'skerry.server.engines.virtual'}"
        " & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=180)


@pytest.mark.parametrize("processes", [1, 2])
def test_devices_compute_in_one_thread_whatever_the_machine_has(
    echo: Components, make_run: Any, seen: Any, processes: int
) -> None:
    folder = make_run(3)
    with threadpool_limits(2):
        InProcessEngine(echo, processes=processes).run(folder)
        assert max(pool["num_threads"] for pool in threadpool_info()) == 2  # afterwards as before
    assert {reply["blas"] for told in seen(folder)["rounds"] for reply in told["replies"]} == {1}
