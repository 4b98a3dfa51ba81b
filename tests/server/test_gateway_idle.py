"""Idle devices hardly reach the SuperLink, and nothing that it or they need to hear is kept from them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import httpx
import pytest
from flwr.proto.fleet_pb2 import ActivateNodeRequest, DeactivateNodeRequest, PullMessagesRequest, PullMessagesResponse
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest, SendNodeHeartbeatResponse
from flwr.proto.message_pb2 import Message
from flwr.proto.node_pb2 import Node

from skerry.server.bells import Belfry, Bells, Rope
from skerry.server.devices import EnrolledDevice
from skerry.server.engines.flwr_idle import (
    ALIVE,
    LONGEST_S,
    NOTHING,
    lasting_longer,
    nothing_came,
    sign_of_life,
    was_taken,
)
from skerry.server.gateway import GatewayLimits
from skerry.server.gateway.answers import HELD
from skerry.server.gateway.fleet import FleetPassage
from skerry.server.gateway.idle import PROMISED_S, Idle, IdleLimits
from skerry.server.gateway.refusal import TurnedAwayError
from skerry.server.gateway.superlink import PROTOBUF

from ._gateway import Signing

BEAT, PULL, LEAVE = "send-node-heartbeat", "pull-messages", "deactivate-node"
TAKEN = SendNodeHeartbeatResponse(success=True).SerializeToString()
UNKNOWN = SendNodeHeartbeatResponse(success=False).SerializeToString()
LETTER = PullMessagesResponse(messages_list=[Message()]).SerializeToString()


@pytest.fixture
def bells(tmp_path: Path) -> Bells:
    return Bells(tmp_path / "bells")


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
def idle(bells: Bells, now: list[float]) -> Idle:
    return Idle(Belfry(bells.asked), IdleLimits(beats_per_s=10, asks_per_s=5), lambda: now[0])


def online(idle: Idle, count: int) -> None:
    for node in range(1, count + 1):
        idle.answered(BEAT, node, "", TAKEN)


def asked(idle: Idle, node: int, answer: bytes = b"") -> None:
    idle.answered(PULL, node, idle.stroke(node), answer)


def answer(idle: Idle, call: str, node: int) -> bytes | None:
    return idle.answer(call, node, idle.stroke(node))


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


class Slow:
    """A SuperLink that hangs on some calls until it may go on.

    In ``asked`` are the calls as they came, in ``heard`` in the order in which it was done.
    """

    def __init__(self, *hangs_on: str) -> None:
        self._hangs_on = hangs_on
        self.asked: list[str] = []
        self.heard: list[str] = []
        self.go_on = asyncio.Event()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        call = request.url.path.rpartition("/")[2]
        self.asked.append(call)
        if call in self._hangs_on:
            await self.go_on.wait()
        self.heard.append(call)
        assert request.headers["flwr-signature"] == "its own"
        return httpx.Response(200, stream=httpx.ByteStream(TAKEN if call == BEAT else b""))


class Numbered:
    """The node of ``pi-7`` is 7."""

    def node_id(self, device: EnrolledDevice) -> int:
        return int(device.name.removeprefix("pi-"))

    known = node_id

    def forget(self, device: EnrolledDevice) -> None:
        raise AssertionError("it was accepted")


@dataclass
class Passed:
    """A request of which the reception has let device and body in."""

    device: EnrolledDevice
    call: str
    body: bytes = b""

    @property
    def path_params(self) -> dict[str, str]:
        return {"call": self.call}

    @property
    def headers(self) -> dict[str, str]:
        return {"content-type": PROTOBUF, "flwr-signature": "its own"}

    @cached_property
    def scope(self) -> dict[str, ExitStack]:
        return {HELD: ExitStack()}


class Open:
    """A reception that lets everybody in."""

    async def device(self, request: Passed, *, body_limit: int) -> tuple[EnrolledDevice, bytes]:
        return request.device, request.body


DEVICE = Signing("pi-7").enrolled


def named(node: int) -> EnrolledDevice:
    return replace(DEVICE, name=f"pi-{node}")


@asynccontextmanager
async def passage(slow: Slow, idle: Idle) -> AsyncIterator[FleetPassage]:
    transport = httpx.MockTransport(slow)
    async with httpx.AsyncClient(base_url="http://superlink", transport=transport) as superlink:
        yield FleetPassage(superlink, Numbered(), Open(), GatewayLimits(), idle)


def waits(fleet: FleetPassage, node: int) -> None:
    """The device has come to wait at the bell."""
    fleet.came(named(node), node, Passed(named(node), "bell"))


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(4000):
        if holds():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to that")


async def settled() -> None:
    await asyncio.sleep(0.05)


def pulls(node: int) -> Passed:
    return Passed(named(node), PULL, PullMessagesRequest(node=Node(node_id=node)).SerializeToString())


def leaves(node: int) -> Passed:
    return Passed(named(node), LEAVE, DeactivateNodeRequest(node_id=node).SerializeToString())


def test_a_sign_of_life_that_is_under_way_brings_back_no_device_that_leaves(idle: Idle) -> None:
    async def goodbye() -> list[str]:
        slow = Slow(BEAT)
        async with passage(slow, idle) as fleet:
            waits(fleet, 7)
            waits(fleet, 7)  # it is being told already
            await until(lambda: slow.asked)
            left = asyncio.create_task(fleet.answer(leaves(7)))
            await settled()
            slow.go_on.set()
            await asyncio.wait_for(left, 20)
            waits(fleet, 7)  # it was late
            await settled()
        return slow.heard

    assert asyncio.run(goodbye()) == [BEAT, LEAVE]
    assert not idle.breathes(7)


def test_a_sign_of_life_that_waits_for_its_turn_neither_brings_back_nor_holds_up_who_leaves(idle: Idle) -> None:
    async def goodbye() -> Slow:
        slow = Slow(BEAT)
        async with passage(slow, idle) as fleet:
            for node in range(1, 8):
                waits(fleet, node)
            await asyncio.wait_for(fleet.answer(leaves(7)), 20)
            slow.go_on.set()
            await until(lambda: slow.heard.count(BEAT) >= 6)
            await settled()
        return slow

    slow = asyncio.run(goodbye())
    assert slow.heard == [LEAVE] + 6 * [BEAT]
    assert not idle.breathes(7)


def test_signs_of_life_leave_a_slow_superlink_to_those_who_want_something(idle: Idle, now: list[float]) -> None:
    for _ in range(2):
        online(idle, 100)
    now[0] += idle.longer_s + PROMISED_S - 1  # all are due, none is late

    async def crowds() -> int:
        slow = Slow(BEAT)
        async with passage(slow, idle) as fleet:
            for node in range(1, 101):
                waits(fleet, node)
            await until(lambda: slow.asked)
            slow.go_on.set()
            await settled()
        return len(slow.heard)

    assert asyncio.run(crowds()) == 2


def test_who_is_late_is_told_of_in_its_turn_and_once(idle: Idle, now: list[float]) -> None:
    online(idle, 100)
    now[0] += idle.longer_s + PROMISED_S  # half of the time until they are called offline

    async def crowds() -> tuple[int, int]:
        slow = Slow(BEAT)
        async with passage(slow, idle) as fleet:
            for node in (*range(1, 101), *range(1, 101)):
                waits(fleet, node)
            await settled()
            at_once = len(slow.asked)
            slow.go_on.set()
            await until(lambda: len(slow.heard) >= 100)
            await settled()
        return at_once, len(slow.heard)

    assert asyncio.run(crowds()) == (2, 100)
    assert not any(idle.breathes(node) for node in range(1, 101))


def test_a_device_is_not_called_offline_because_a_round_takes_all_places(idle: Idle) -> None:
    online(idle, 100)

    async def uploads() -> None:
        slow = Slow(PULL)
        async with passage(slow, idle) as fleet:
            many = [asyncio.create_task(fleet.answer(pulls(node))) for node in range(101, 181)]
            await until(lambda: len(slow.asked) == GatewayLimits().superlink_calls)
            waits(fleet, 200)
            await until(lambda: BEAT in slow.heard)
            slow.go_on.set()
            await asyncio.gather(*many)

    asyncio.run(uploads())
    assert not idle.breathes(200)


def test_what_is_known_is_answered_at_once_while_the_superlink_hangs(idle: Idle) -> None:
    for _ in range(2):
        online(idle, 100)

    async def hangs() -> list[str]:
        slow = Slow(PULL)
        async with passage(slow, idle) as fleet:
            many = [asyncio.create_task(fleet.answer(pulls(node))) for node in range(101, 181)]
            await until(lambda: len(slow.asked) == GatewayLimits().superlink_calls)
            for node in range(1, 101):  # more than there are places for calls that wait
                beat = Passed(named(node), BEAT, sign_of_life(node, PROMISED_S))
                answer = await asyncio.wait_for(fleet.answer(beat), 20)
                assert answer.body == ALIVE
            slow.go_on.set()
            await asyncio.gather(*many)
        return slow.asked

    assert set(asyncio.run(hangs())) == {PULL}


def test_what_is_known_of_one_node_is_told_to_no_other_device(idle: Idle) -> None:
    for _ in range(2):
        online(idle, 100)

    async def asks() -> None:
        async with passage(Slow(), idle) as fleet:
            await fleet.answer(Passed(named(1), BEAT, sign_of_life(2, PROMISED_S)))

    with pytest.raises(TurnedAwayError, match="another node"):
        asyncio.run(asks())
