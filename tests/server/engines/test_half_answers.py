"""A forked process that fails within an answer: nothing else it says is read as the rest of that answer."""

import os
from collections.abc import Iterable
from typing import Any

import pytest

from skerry.errors import RunFailedError
from skerry.forked_pipe import ForkedPipe
from skerry.server.engines import flwr_adapter, forked_grid
from skerry.server.engines.forked_grid import ForkedGrid

from ._forked import NODES, app, ask, who


@pytest.fixture(autouse=True)
def identity():
    with flwr_adapter.task_identity(1):
        yield


def test_what_fails_within_a_chores_answer_is_not_taken_for_its_bytes(no_process_left: None) -> None:
    def words(_: bytes) -> Any:
        return "no bytes"

    with (
        ForkedGrid(app(who), NODES, processes=2, chores={"words": words}) as grid,
        pytest.raises(RunFailedError, match="a process that answered for devices has ended"),
    ):
        grid.offer("words", lambda: b"one")()


def test_what_fails_within_replies_is_not_taken_for_one_of_them(
    no_process_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a lack of memory does."""
    ours = os.getpid()

    def send(pipe: ForkedPipe, parts: Iterable[bytes]) -> None:
        if os.getpid() != ours:
            raise MemoryError
        real(pipe, parts)

    real = forked_grid.send_all
    monkeypatch.setattr(forked_grid, "send_all", send)
    with (
        ForkedGrid(app(who), NODES, processes=2) as grid,
        pytest.raises(RunFailedError, match="a process that answered for devices has ended"),
    ):
        grid.send_and_receive(ask(grid, [1, 2]))


def test_what_fails_after_an_answer_is_told(no_process_left: None) -> None:
    def fail(part: bytes) -> bytes:
        if part == b"fail":
            raise ValueError("what it was")
        return part

    with ForkedGrid(app(who), NODES, processes=1, chores={"fail": fail}) as grid:
        assert grid.offer("fail", lambda: b"one")() == b"one"
        assert len(grid.send_and_receive(ask(grid, [1, 2]))) == 2
        with pytest.raises(RunFailedError, match="failed: ValueError: what it was"):
            grid.offer("fail", lambda: b"fail")()
