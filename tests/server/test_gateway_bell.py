"""A device waits at the gateway's bell until there is something to ask for; nobody else's ring wakes it."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.proto.fleet_pb2 import PushMessagesResponse

from skerry.server.bells import NEVER, Belfry, Bells, Rope
from skerry.server.engines.flwr_adapter import FleetClaim
from skerry.server.gateway import GatewayLimits
from skerry.server.gateway.bell import BellTower
from skerry.server.gateway.uploads import Uploads

from ._gateway import Running, Signing, reason, running

PATH = "/v1/bell"


class Numbered:
    """Nodes that are numbered as their devices are called."""

    def node_id(self, device) -> int:
        return int(device.name.rpartition("-")[2])

    def forget(self, device) -> None:
        raise AssertionError("nobody asked the SuperLink")


@pytest.fixture
def bells(tmp_path: Path) -> Bells:
    return Bells(tmp_path / "bells")


@pytest.fixture
def served(tmp_path: Path, bells: Bells) -> Iterator[Running]:
    with running(tmp_path, nodes=Numbered(), bells=bells, limits=GatewayLimits(bells=3, bell_s=1.5)) as gateway:
        yield gateway


@pytest.fixture
def device(served: Running) -> Signing:
    made = Signing("pi-7")
    served.roll.known["pi-7"] = made.enrolled
    return made


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def waiting(pool: ThreadPoolExecutor, served: Running, device: Signing, known: str) -> "Future[str]":
    begun = threading.Event()

    def wait() -> str:
        begun.set()
        answer = served.post(PATH, device, known.encode())
        return answer.text if answer.status_code == 200 else reason(answer)

    future = pool.submit(wait)
    begun.wait()
    return future


def rung(bells: Bells, node: int) -> str:
    Rope(bells.asked).ring([node])
    return Belfry(bells.asked).last(node)


def test_a_device_that_waits_hears_the_ring_and_not_one_for_others(
    served: Running, bells: Bells, device: Signing, pool: ThreadPoolExecutor
) -> None:
    rope = Rope(bells.asked)
    future = waiting(pool, served, device, NEVER)
    rope.ring([8])
    assert not future.done()
    rope.ring([7])
    assert future.result(20) == Belfry(bells.asked).last(7) != NEVER


def test_one_that_missed_a_ring_is_told_at_once(served: Running, bells: Bells, device: Signing) -> None:
    stroke = rung(bells, 7)
    assert served.post(PATH, device, b"").text == stroke
    assert served.post(PATH, device, b"an older one").text == stroke


def test_one_that_comes_for_the_first_time_is_answered_at_once(
    served: Running, device: Signing, pool: ThreadPoolExecutor
) -> None:
    held = waiting(pool, served, device, NEVER)
    assert served.post(PATH, device, b"").text == NEVER
    assert not held.done()


def test_where_nothing_rings_it_is_told_so_in_the_end(served: Running, bells: Bells, device: Signing) -> None:
    assert served.post(PATH, device, NEVER.encode()).text == NEVER
    stroke = rung(bells, 7)
    assert served.post(PATH, device, stroke.encode()).text == stroke


def test_a_ring_wakes_all_it_is_for_also_when_one_of_them_comes_just_then(bells: Bells) -> None:
    async def waits() -> None:
        tower = BellTower(Belfry(bells.asked), Numbered(), None, GatewayLimits(), asyncio.Event())
        early = asyncio.create_task(tower._newer(7, NEVER))
        await asyncio.sleep(0.01)  # it waits, and the tower has just looked
        Rope(bells.asked).ring([7, 8])
        await tower._newer(8, NEVER)
        await asyncio.wait_for(early, 10)

    asyncio.run(waits())


class Open:
    """Lets in whoever comes, as pi-7 that knows of no ring; nothing more is heard of it."""

    async def device(self, request, *, body_limit: int):
        return SimpleNamespace(name="pi-7"), NEVER.encode()

    async def receive(self) -> None:
        await asyncio.Event().wait()


def test_who_waits_is_let_go_when_the_server_ends(bells: Bells) -> None:
    async def waits() -> bytes:
        closing = asyncio.Event()
        tower = BellTower(Belfry(bells.asked), Numbered(), Open(), GatewayLimits(bell_s=60.0), closing)
        waiting = asyncio.create_task(tower.wait(Open()))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        closing.set()
        return (await asyncio.wait_for(waiting, 20)).body

    assert asyncio.run(waits()) == NEVER.encode()


def test_nobody_waits_who_is_not_enrolled_or_says_too_much(served: Running, device: Signing) -> None:
    assert reason(served.post(PATH, Signing("pi-7"), b"")) == "not_authentic"
    assert reason(served.client.post(PATH, content=b"")) == "not_signed"
    assert reason(served.post(PATH, device, bytes(65))) == "too_large"


def test_one_device_does_not_take_all_places(
    served: Running, bells: Bells, device: Signing, pool: ThreadPoolExecutor
) -> None:
    futures = [waiting(pool, served, device, NEVER) for _ in range(3)]
    heard = sorted(future.result(20) for future in futures)
    assert heard == [NEVER, NEVER, "busy"]
    assert served.post(PATH, device, b"x").text == NEVER  # and its places are free again


def claim(session: str = "", part: str = "") -> FleetClaim:
    return FleetClaim(7, None, (), session, part)


def test_an_answer_is_whole_with_its_last_part_and_not_before() -> None:
    uploads = Uploads()
    announced = PushMessagesResponse(session_id="s", objects_to_push=["a", "b"]).SerializeToString()
    assert not uploads.complete("push-messages", claim(), announced)
    assert not uploads.complete("push-object", claim("s", "a"), b"")
    assert not uploads.complete("push-object", claim("s", "a"), b"")
    assert uploads.complete("push-object", claim("s", "b"), b"")
    assert not uploads.complete("pull-messages", claim(), b"")


def test_an_answer_without_parts_is_whole_and_one_of_another_life_is_called_so() -> None:
    uploads = Uploads()
    assert uploads.complete("push-messages", claim(), PushMessagesResponse(session_id="s").SerializeToString())
    assert uploads.complete("push-object", claim("of before", "a"), b"")
    assert uploads.complete("push-messages", claim(), b"\xff\xff")
