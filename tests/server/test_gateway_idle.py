"""Idle devices hardly reach the SuperLink, and nothing that it or they need to hear is kept from them."""

from pathlib import Path

import pytest
from flwr.proto.fleet_pb2 import ActivateNodeRequest, DeactivateNodeRequest, PullMessagesRequest, PullMessagesResponse
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.node_pb2 import Node

from skerry.server.bells import Bells, Rope
from skerry.server.engines.flwr_idle import (
    ALIVE,
    LONGEST_S,
    NOTHING,
    lasting_longer,
    nothing_came,
    sign_of_life,
    was_taken,
)
from skerry.server.gateway.idle import PROMISED_S, Idle, IdleLimits

from ._idle import BEAT, LEAVE, LETTER, PULL, TAKEN, UNKNOWN, answer, asked, idle_beside, online


@pytest.fixture
def bells(tmp_path: Path) -> Bells:
    return Bells(tmp_path / "bells")


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
def idle(bells: Bells, now: list[float]) -> Idle:
    return idle_beside(bells, now)


def test_of_a_small_fleet_all_is_passed_on(idle: Idle, now: list[float]) -> None:
    online(idle, 10)
    asked(idle, 10)
    now[0] += 2.0
    assert answer(idle, BEAT, 10) is None
    assert answer(idle, PULL, 10) is None
    assert idle.breathes(10)


def test_signs_of_life_of_a_large_fleet_reach_the_superlink_as_often_as_it_can_bear(
    idle: Idle, now: list[float]
) -> None:
    online(idle, 2000)
    passed = 0
    for _ in range(1000):  # each device every twenty seconds, for a while
        now[0] += 0.4
        for node in range(1 + round(now[0] / 0.4) % 50, 2001, 50):
            if idle.breathes(node):
                passed += 1
                idle.answered(BEAT, node, "", TAKEN)
            else:
                assert answer(idle, BEAT, node) == ALIVE
    assert 2000 <= passed <= 1.2 * 10 * 400


def test_no_node_goes_offline_between_two_signs_of_life_that_are_passed_on(idle: Idle, now: list[float]) -> None:
    until: dict[int, float] = {}

    def passed(node: int) -> None:
        promised = SendNodeHeartbeatRequest.FromString(idle.sent(BEAT, node, sign_of_life(node, PROMISED_S)))
        until[node] = now[0] + 2 * promised.heartbeat_interval  # as the SuperLink waits
        idle.answered(BEAT, node, "", TAKEN)

    for tick in range(6000):
        now[0] += 0.1
        if tick < 1000:  # the fleet comes within 100 s
            passed(tick)
        for node in range(tick % 200, min(tick, 1000), 200):  # and each is seen every twenty
            assert now[0] < until[node]
            if idle.breathes(node):
                passed(node)


def test_who_has_no_message_is_told_so_here_until_somebody_rings_for_it(
    idle: Idle, bells: Bells, now: list[float]
) -> None:
    online(idle, 100)
    asked(idle, 7)
    assert answer(idle, PULL, 7) == NOTHING
    assert answer(idle, PULL, 8) is None  # nobody knows of it yet
    Rope(bells.asked).ring([7])
    assert answer(idle, PULL, 7) is None


def test_a_message_that_nobody_rang_for_is_found_in_time(idle: Idle, now: list[float]) -> None:
    online(idle, 100)
    asked(idle, 7)
    now[0] += 100 / 5 + 0.1
    assert answer(idle, PULL, 7) is None


def test_a_ring_while_the_superlink_is_asked_is_not_missed(idle: Idle, bells: Bells) -> None:
    online(idle, 100)
    stroke = idle.stroke(7)
    Rope(bells.asked).ring([7])
    idle.answered(PULL, 7, stroke, NOTHING)
    assert answer(idle, PULL, 7) is None


def test_who_was_given_a_message_asks_for_the_next(idle: Idle) -> None:
    online(idle, 100)
    asked(idle, 7)
    asked(idle, 7, LETTER)
    assert answer(idle, PULL, 7) is None


def test_where_nobody_rings_every_question_is_passed_on(now: list[float]) -> None:
    idle = Idle(None, IdleLimits(), lambda: now[0])
    online(idle, 1000)
    asked(idle, 7)
    assert answer(idle, PULL, 7) is None


def test_who_has_left_is_not_brought_back_by_waiting_and_comes_back_by_saying_so(idle: Idle) -> None:
    online(idle, 100)
    idle.sent(LEAVE, 7, DeactivateNodeRequest(node_id=7).SerializeToString())
    assert not idle.breathes(7)
    assert answer(idle, BEAT, 7) is None  # that would bring it back, and is for the SuperLink
    idle.answered(BEAT, 7, "", TAKEN)
    assert answer(idle, BEAT, 7) == ALIVE


def test_nobody_is_called_alive_whom_the_superlink_does_not_know(idle: Idle) -> None:
    online(idle, 100)
    idle.answered(BEAT, 7, "", UNKNOWN)
    idle.refused(8)
    idle.answered(BEAT, 9, "", b"\xff")
    for node in (7, 8, 9):
        assert answer(idle, BEAT, node) is None


def test_nodes_that_are_gone_cost_the_others_no_turn(idle: Idle, now: list[float]) -> None:
    online(idle, 1000)
    assert idle.longer_s == 100
    now[0] += 1000
    idle.answered(BEAT, 1, "", TAKEN)
    assert idle.longer_s == 0.1


@pytest.mark.parametrize(
    ("call", "request_"),
    [
        (BEAT, SendNodeHeartbeatRequest(node=Node(node_id=7), heartbeat_interval=30)),
        ("activate-node", ActivateNodeRequest(public_key=b"key", heartbeat_interval=30)),
    ],
    ids=[BEAT, "activate-node"],
)
def test_the_next_sign_of_life_is_promised_later_and_nothing_else_is_changed(call: str, request_) -> None:
    for more, promised in ((60.0, 90.0), (1e9, LONGEST_S)):
        sent = type(request_).FromString(lasting_longer(call, request_.SerializeToString(), more))
        assert sent.heartbeat_interval == promised
        sent.heartbeat_interval = 30
        assert sent == request_
    request_.heartbeat_interval = 1e300  # for the SuperLink to refuse
    assert lasting_longer(call, request_.SerializeToString(), 60.0) == request_.SerializeToString()


def test_the_answers_that_are_given_here_are_the_superlinks() -> None:
    assert was_taken(BEAT, ALIVE)
    assert ALIVE == TAKEN
    assert PullMessagesResponse().SerializeToString() == NOTHING
    assert nothing_came(NOTHING)
    assert not nothing_came(LETTER)
    assert not nothing_came(b"\xff")
    body = PullMessagesRequest(node=Node(node_id=7)).SerializeToString()
    assert lasting_longer(PULL, body, 60.0) == body
