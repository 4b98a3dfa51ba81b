"""Chores of a coordinator that forked processes do while none of their devices is asked."""

import functools
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict

from skerry.errors import RunFailedError, TaskError
from skerry.server.engines import flwr_adapter
from skerry.server.engines.forked_grid import ForkedGrid

from ._forked import NODES, app, ask, until, who


@pytest.fixture(autouse=True)
def identity():
    with flwr_adapter.task_identity(1):
        yield


def chore(part: bytes) -> bytes:
    if part == b"fail":
        raise ValueError("what it was")
    if part == b"die":
        os.kill(os.getpid(), signal.SIGKILL)
    if part.startswith(b"000000"):
        time.sleep(0.3)  # others are done before
    return b"%d:" % os.getpid() + part * 3


def share(grid: ForkedGrid, name: str, parts: list[bytes]) -> Iterator[bytes]:
    for wait in [grid.offer(name, functools.partial(bytes, part)) for part in parts]:
        yield wait()


def test_chores_are_done_by_the_processes_in_the_order_of_their_parts(no_process_left: None) -> None:
    parts = [b"%06d" % number * 50_000 for number in range(9)]  # more than a pipe holds
    with ForkedGrid(app(who), NODES, processes=2, chores={"thrice": chore}) as grid:
        assert grid.hands == 2
        done = [one.split(b":") for one in share(grid, "thrice", parts)]
        assert [text for _, text in done] == [part * 3 for part in parts]
        assert len({who for who, _ in done}) == 2
        assert b"%d" % os.getpid() not in {who for who, _ in done}
        assert list(share(grid, "thrice", [])) == []
        assert len(list(grid.send_and_receive(ask(grid, [1, 2])))) == 2  # and then they answer for devices again


def test_the_first_parts_of_a_chore_are_there_while_others_are_done(no_process_left: None, tmp_path: Path) -> None:
    def late(part: bytes) -> bytes:
        if part != b"0":
            until(tmp_path / "looked")
        return part

    def part(number: int) -> bytes:
        made.append(number)
        return b"%d" % number

    made: list[int] = []
    with ForkedGrid(app(who), NODES, processes=2, chores={"late": late}) as grid:
        waits = [grid.offer("late", functools.partial(part, number)) for number in range(6)]
        assert made == [0, 1]  # the others when a hand is free
        assert waits[0]() == b"0"
        assert made == [0, 1, 2]
        (tmp_path / "looked").touch()
        assert [wait() for wait in waits[1:]] == [b"1", b"2", b"3", b"4", b"5"]


def test_who_has_no_reply_to_make_does_chores_while_others_make_theirs(no_process_left: None, tmp_path: Path) -> None:
    def wait(asked: ConfigRecord, context: Context) -> dict[str, Any]:
        if asked["n"] == 1:
            until(tmp_path / "done 4")
        return {"n": asked["n"], "pid": os.getpid()}

    def do(part: bytes) -> bytes:
        (tmp_path / f"done {part.decode()}").touch()
        return b"%d" % os.getpid()

    with ForkedGrid(app(wait), NODES[:2], processes=2, chores={"do": do}) as grid:
        nodes = grid.get_node_ids()
        asked = [Message(RecordDict({"asked": ConfigRecord({"n": n})}), nodes[n], "train") for n in (0, 0, 1)]
        replies = grid.pull_each(grid.push_messages(asked))
        first = next(replies)  # who made it is asked for the next one by now
        waits = [grid.offer("do", functools.partial(bytes, b"%d" % number)) for number in range(6)]
        others = list(replies)
        places = [int(wait()) for wait in waits]
    assert [reply.content["told"]["n"] for reply in (first, *others)] == [0, 0, 1]
    assert set(places[:5]) == {first.content["told"]["pid"]}


def test_a_chore_that_nobody_awaits_is_in_nobodys_way(no_process_left: None) -> None:
    with ForkedGrid(app(who), NODES, processes=2, chores={"thrice": chore}) as grid:
        for _ in range(2):
            waits = [grid.offer("thrice", functools.partial(bytes, b"%06d" % number)) for number in range(6)]
            assert waits[0]().endswith(b":000000000000000000")
            replies = list(grid.send_and_receive(ask(grid, [1, 2, 3])))
            assert [reply.content["told"]["n"] for reply in replies] == [1, 2, 3]
        grid.offer("thrice", functools.partial(bytes, b"x"))
        (told,) = grid.ask_nodes("thrice", lambda _: b"y", grid.get_node_ids()[:1])()
        assert told.endswith(b":yyy")


@pytest.mark.parametrize(("part", "what"), [(b"fail", "failed: ValueError: what it was"), (b"die", "has ended")])
def test_a_chore_that_fails_fails_the_run(part: bytes, what: str, no_process_left: None) -> None:
    with (
        ForkedGrid(app(who), NODES, processes=2, chores={"thrice": chore}) as grid,
        pytest.raises(RunFailedError, match=f"a process that answered for devices {what}"),
    ):
        list(share(grid, "thrice", [b"one", part, b"three", b"four"]))


def test_a_chore_is_refused_there_as_it_would_be_here(no_process_left: None) -> None:
    def refuse(part: bytes) -> bytes:
        if part == b"refuse":
            raise TaskError("a picture is damaged", where="writer-00/1.png")
        return part

    with ForkedGrid(app(who), NODES, processes=2, chores={"look": refuse}) as grid:
        with pytest.raises(TaskError) as caught:
            grid.ask_nodes("look", lambda _: b"refuse", grid.get_node_ids()[:1])()
        assert caught.value.where == "writer-00/1.png"
        assert list(share(grid, "look", [b"one"])) == [b"one"]


def test_what_fails_with_words_that_have_no_bytes_is_told(no_process_left: None) -> None:
    def fail(part: bytes) -> bytes:
        raise ValueError("\udcff")

    with (
        ForkedGrid(app(who), NODES, processes=2, chores={"look": fail}) as grid,
        pytest.raises(RunFailedError, match=r"failed: ValueError: \\udcff"),
    ):
        list(share(grid, "look", [b"one"]))


def test_a_chore_for_nodes_is_done_by_their_processes_while_this_one_goes_on(
    no_process_left: None, tmp_path: Path
) -> None:
    def told_late(part: bytes) -> bytes:
        while not (tmp_path / "asked").exists():
            time.sleep(0.005)
        return part + f" by {os.getpid()}".encode()

    with ForkedGrid(app(who), NODES, processes=2, chores={"tell": told_late}) as grid:
        nodes = grid.get_node_ids()
        wait = grid.ask_nodes("tell", lambda here: repr(sorted(here)).encode(), nodes)
        (tmp_path / "asked").touch()
        answers = [answer.decode().partition(" by ") for answer in wait()]
        (only,) = grid.ask_nodes("tell", lambda here: repr(sorted(here)).encode(), [nodes[1]])()
        places = {
            reply.metadata.src_node_id: str(reply.content["told"]["pid"])
            for reply in grid.send_and_receive(ask(grid, list(range(5))))
        }
    assert only == f"[{nodes[1]}] by {places[nodes[1]]}".encode()
    told = {node: pid for here, _, pid in answers for node in json.loads(here)}
    assert told == places
    assert len(set(told.values())) == 2


def test_a_chore_for_nodes_that_fails_fails_the_run(no_process_left: None) -> None:
    with (
        ForkedGrid(app(who), NODES, processes=2, chores={"thrice": chore}) as grid,
        pytest.raises(RunFailedError, match="a process that answered for devices failed: ValueError: what it was"),
    ):
        grid.ask_nodes("thrice", lambda _: b"fail", grid.get_node_ids())()
