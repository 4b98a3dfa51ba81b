"""Between idle devices and a SuperLink that hangs: who is answered here, who gets a place there, and in which turn."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pytest
from flwr.proto.fleet_pb2 import DeactivateNodeRequest, PullMessagesRequest
from flwr.proto.node_pb2 import Node

from skerry.server.bells import Bells
from skerry.server.devices import EnrolledDevice
from skerry.server.engines.flwr_idle import (
    ALIVE,
    sign_of_life,
)
from skerry.server.gateway import GatewayLimits
from skerry.server.gateway.answers import HELD
from skerry.server.gateway.fleet import FleetPassage
from skerry.server.gateway.idle import PROMISED_S, Idle
from skerry.server.gateway.refusal import TurnedAwayError
from skerry.server.gateway.superlink import PROTOBUF
from skerry.server.gateway.superlink_line import Answered

from ._gateway import Signing
from ._idle import BEAT, LEAVE, PULL, TAKEN, idle_beside, online


@pytest.fixture
def bells(tmp_path: Path) -> Bells:
    return Bells(tmp_path / "bells")


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
def idle(bells: Bells, now: list[float]) -> Idle:
    return idle_beside(bells, now)


class Slow:
    """A SuperLink that hangs on some calls until it may go on.

    In ``asked`` are the calls as they came, in ``heard`` in the order in which it was done.
    """

    def __init__(self, *hangs_on: str) -> None:
        self._hangs_on = hangs_on
        self.asked: list[str] = []
        self.heard: list[str] = []
        self.go_on = asyncio.Event()

    async def exchange(
        self, _method: str, path: str, headers: Mapping[str, str], _body: bytes, *, longest: int
    ) -> Answered:
        call = path.rpartition("/")[2]
        self.asked.append(call)
        if call in self._hangs_on:
            await self.go_on.wait()
        self.heard.append(call)
        assert headers["flwr-signature"] == "its own"
        return Answered(200, PROTOBUF, TAKEN if call == BEAT else b"")


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


def passage(slow: Slow, idle: Idle) -> FleetPassage:
    return FleetPassage(slow, Numbered(), Open(), GatewayLimits(), idle)


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
        fleet = passage(slow, idle)
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
        fleet = passage(slow, idle)
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
        fleet = passage(slow, idle)
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
        fleet = passage(slow, idle)
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
        fleet = passage(slow, idle)
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
        fleet = passage(slow, idle)
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
        fleet = passage(Slow(), idle)
        await fleet.answer(Passed(named(1), BEAT, sign_of_life(2, PROMISED_S)))

    with pytest.raises(TurnedAwayError, match="another node"):
        asyncio.run(asks())
