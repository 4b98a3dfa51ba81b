"""The grid rings when all of a message is with the SuperLink, and hears when an answer has come."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.proto import message_pb2, runtime_pb2

from skerry.server.bells import NEVER, Belfry, Bells, Rope
from skerry.server.engines.flwr_adapter import task_identity
from skerry.server.engines.flwr_grid import DrivenGrid

RUN = 5


class Runtime:
    """A SuperLink that takes messages; what the bell said at each part is in ``rung``."""

    def __init__(self, belfry: Belfry) -> None:
        self._belfry = belfry
        self.rung: list[bool] = []
        self.together: list[int] = []

    def PushMessages(self, request):  # noqa: N802 - Flower's name
        self.together.append(len(request.messages_list))
        names: list[str] = []
        for tree in request.message_object_trees:
            stack = [tree]
            while stack:
                node = stack.pop()
                names.append(node.object_id)
                stack += node.children
        taken = [head.metadata.message_id for head in request.messages_list]
        return runtime_pb2.PushAppMessagesResponse(message_ids=taken, objects_to_push=names, session_id="s")

    def PushObject(self, request):  # noqa: N802
        self.rung.append(self._belfry.changed())
        return message_pb2.PushObjectResponse(stored=True)


@pytest.fixture
def bells(tmp_path: Path) -> Bells:
    return Bells(tmp_path / "bells")


@pytest.fixture
def runtime(bells: Bells) -> Runtime:
    return Runtime(Belfry(bells.asked))


@pytest.fixture
def grid(runtime: Runtime, bells: Bells) -> Iterator[DrivenGrid]:
    made = DrivenGrid(runtime, SimpleNamespace(run_id=RUN), largest=1000, bells=bells)
    with task_identity(RUN):
        yield made
    made.close()


def messages(*nodes: int) -> list[Message]:
    return [Message(_records(node), dst_node_id=node, message_type="train") for node in nodes]


def _records(value: int) -> RecordDict:
    return RecordDict({"a": ConfigRecord({"b": value})})


def test_it_rings_for_whom_it_sent_something_and_not_before_all_of_it_is_there(
    grid: DrivenGrid, runtime: Runtime, bells: Bells
) -> None:
    assert len(grid.push_messages(messages(7, 8))) == 2
    assert len(runtime.rung) == 6
    assert not any(runtime.rung)
    belfry = Belfry(bells.asked)
    assert belfry.last(7) == belfry.last(8) != NEVER
    assert belfry.last(9) == NEVER


def test_of_many_nodes_the_first_hear_before_the_last_were_sent_theirs(grid: DrivenGrid, runtime: Runtime) -> None:
    identifiers = grid.push_messages(messages(*range(2, 42)))
    assert len(set(identifiers)) == 40
    assert runtime.together == [16, 16, 8]
    assert runtime.rung.count(True) >= 2


def test_a_rest_ends_when_the_gateway_rings(grid: DrivenGrid, bells: Bells) -> None:
    ringing = threading.Timer(0.05, Rope(bells.answered).ring, [[7]])
    ringing.start()
    grid.rest(3600)
    ringing.join()
    grid.rest(0.01)  # heard once


def test_a_ring_that_came_before_the_rest_is_not_slept_through(grid: DrivenGrid, bells: Bells) -> None:
    Rope(bells.answered).ring([7])
    grid.rest(3600)
