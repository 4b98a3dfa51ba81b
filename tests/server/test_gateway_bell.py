"""A device waits at the gateway's bell until there is something to ask for; nobody else's ring wakes it."""

import asyncio
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.proto.fleet_pb2 import PushMessagesResponse
from flwr.proto.message_pb2 import PushObjectResponse

from skerry.server.bells import NEVER, Belfry, Bells, Rope
from skerry.server.engines.flwr_calls import FleetClaim
from skerry.server.gateway import GatewayLimits
from skerry.server.gateway.bell import _LOOK_S, BellTower
from skerry.server.gateway.refusal import GatewayRefusal, TurnedAwayError
from skerry.server.gateway.uploads import Uploads

from ._gateway import Running, Signing, reason, running

PATH = "/v1/bell"


class Numbered:
    """Nodes that are numbered as their devices are called."""

    def node_id(self, device) -> int:
        return int(device.name.rpartition("-")[2])

    known = node_id

    def forget(self, device) -> None:
        raise AssertionError("nobody asked the SuperLink")


@pytest.fixture
def bells(tmp_path: Path) -> Bells:
    return Bells(tmp_path / "bells")


@pytest.fixture
def served(tmp_path: Path, bells: Bells, pool: ThreadPoolExecutor) -> Iterator[Running]:
    """Ends before the pool, whose threads wait for it."""
    with running(tmp_path, nodes=Numbered(), bells=bells, limits=GatewayLimits(bells=3, bell_s=3600.0)) as gateway:
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
    rung(bells, 8)
    future = waiting(pool, served, device, NEVER)
    time.sleep(10 * _LOOK_S)
    assert not future.done()
    stroke = rung(bells, 7)
    assert future.result(180) == stroke != NEVER


def test_one_that_missed_a_ring_is_told_at_once(served: Running, bells: Bells, device: Signing) -> None:
    stroke = rung(bells, 7)
    assert served.post(PATH, device, b"").text == stroke
    assert served.post(PATH, device, b"an older one").text == stroke


def test_one_that_comes_for_the_first_time_is_answered_at_once(
    served: Running, bells: Bells, device: Signing, pool: ThreadPoolExecutor
) -> None:
    held = waiting(pool, served, device, NEVER)
    assert served.post(PATH, device, b"").text == NEVER
    assert not held.done()
    assert rung(bells, 7) == held.result(180)


def test_where_nothing_rings_it_is_told_so_in_the_end(tmp_path: Path, bells: Bells) -> None:
    device = Signing("pi-7")
    with running(tmp_path, nodes=Numbered(), bells=bells, limits=GatewayLimits(bell_s=0.3)) as served:
        served.roll.known["pi-7"] = device.enrolled
        assert served.post(PATH, device, NEVER.encode()).text == NEVER
        stroke = rung(bells, 7)
        assert served.post(PATH, device, stroke.encode()).text == stroke


def test_a_ring_wakes_all_it_is_for_also_when_one_of_them_comes_just_then(bells: Bells) -> None:
    async def waits() -> None:
        tower = BellTower(Belfry(bells.asked), Numbered(), None, GatewayLimits(), asyncio.Event())
        early = tower._listen(7, NEVER)
        await asyncio.sleep(0.01)  # it waits, and the tower has just looked
        Rope(bells.asked).ring([7, 8])
        await tower._listen(8, NEVER)
        await asyncio.wait_for(early, 180)

    asyncio.run(waits())


class Open:
    """Lets in whoever comes, as a device that knows of no ring; nothing more is heard of it."""

    def __init__(self, name: str = "pi-7") -> None:
        self._name = name

    async def device(self, request, *, body_limit: int):
        return SimpleNamespace(name=request._name), NEVER.encode()

    async def receive(self) -> None:
        await asyncio.Event().wait()


def test_a_ring_wakes_who_waits_also_when_nobody_else_comes(bells: Bells) -> None:
    async def waits() -> bytes:
        rope = Rope(bells.asked)
        tower = BellTower(Belfry(bells.asked), Numbered(), Open(), GatewayLimits(bell_s=3600.0), asyncio.Event())
        waiting = asyncio.create_task(tower.wait(Open()))
        for _ in range(1000):
            if tower._waiting:
                break
            await asyncio.sleep(0.01)
        rope.ring([8])
        await asyncio.sleep(10 * _LOOK_S)
        assert not waiting.done()
        rope.ring([7])
        return (await asyncio.wait_for(waiting, 180)).body

    assert asyncio.run(waits()) == Belfry(bells.asked).last(7).encode() != NEVER.encode()


class Chance:
    """Draws the least."""

    def uniform(self, least: float, most: float) -> float:
        return least / 1000


def test_waits_end_by_chance_and_who_comes_is_told_of(bells: Bells) -> None:
    came: list[tuple[str, int]] = []

    async def waits() -> bytes:
        tower = BellTower(
            Belfry(bells.asked), Numbered(), Open(), GatewayLimits(bell_s=60.0), asyncio.Event(),
            came=lambda device, node, request: came.append((device.name, node)), random=Chance(),
        )  # fmt: skip
        return (await asyncio.wait_for(tower.wait(Open()), 20)).body

    assert asyncio.run(waits()) == NEVER.encode()
    assert came == [("pi-7", 7)]


class Hanging:
    """A SuperLink that says nothing."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def node_id(self, device) -> int:
        self.over.wait(180)
        return 7

    def known(self, device) -> int | None:
        return 8 if device.name == "pi-8" else None


def test_a_superlink_that_hangs_holds_nobody_and_no_place(bells: Bells) -> None:
    superlink = Hanging()

    async def waits() -> None:
        limits = GatewayLimits(bell_s=0.1, bells=1)
        tower = BellTower(Belfry(bells.asked), superlink, Open(), limits, asyncio.Event())
        for _ in range(2):
            with pytest.raises(TurnedAwayError) as away:
                await asyncio.wait_for(tower.wait(Open()), 180)
            assert away.value.reason == GatewayRefusal.SUPERLINK_SLOW
        superlink.over.set()

    asyncio.run(waits())


def test_who_waits_is_let_go_when_the_server_ends(bells: Bells) -> None:
    async def waits() -> bytes:
        closing = asyncio.Event()
        tower = BellTower(Belfry(bells.asked), Numbered(), Open(), GatewayLimits(bell_s=3600.0), closing)
        waiting = asyncio.create_task(tower.wait(Open()))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        closing.set()
        return (await asyncio.wait_for(waiting, 180)).body

    assert asyncio.run(waits()) == NEVER.encode()


def test_nobody_waits_who_is_not_enrolled_or_says_too_much(served: Running, device: Signing) -> None:
    assert reason(served.post(PATH, Signing("pi-7"), b"")) == "not_authentic"
    assert reason(served.client.post(PATH, content=b"")) == "not_signed"
    assert reason(served.post(PATH, device, bytes(65))) == "too_large"


def test_a_device_that_is_known_waits_for_no_other_that_a_superlink_which_hangs_has_to_register(bells: Bells) -> None:
    superlink = Hanging()

    async def waits() -> bytes:
        limits = GatewayLimits(bell_s=3600.0)
        tower = BellTower(Belfry(bells.asked), superlink, Open(), limits, asyncio.Event(), random=Chance())
        new = asyncio.create_task(tower.wait(Open("pi-7")))
        await asyncio.sleep(0.05)  # it is being registered
        try:
            return (await asyncio.wait_for(tower.wait(Open("pi-8")), 20)).body
        finally:
            superlink.over.set()
            await new

    assert asyncio.run(waits()) == NEVER.encode()


def test_one_device_does_not_take_all_places(
    served: Running, bells: Bells, device: Signing, pool: ThreadPoolExecutor
) -> None:
    futures = [waiting(pool, served, device, NEVER) for _ in range(3)]
    (refused,) = wait(futures, 180, FIRST_COMPLETED).done
    assert refused.result() == "busy"
    stroke = rung(bells, 7)
    assert sorted(future.result(180) for future in futures) == sorted([stroke, stroke, "busy"])
    again = [waiting(pool, served, device, stroke) for _ in range(2)]  # its places are free again
    later = rung(bells, 7)
    assert [future.result(180) for future in again] == [later, later]


def claim(session: str = "", part: str = "") -> FleetClaim:
    return FleetClaim(7, None, (), session, part)


def announced(session: str, *parts: str) -> bytes:
    return PushMessagesResponse(session_id=session, objects_to_push=parts).SerializeToString()


STORED = PushObjectResponse(stored=True).SerializeToString()


def test_an_answer_is_whole_with_its_last_part_and_not_before() -> None:
    uploads = Uploads()
    assert not uploads.complete("pi", "push-messages", claim(), announced("s", "a", "b"))
    assert not uploads.complete("pi", "push-object", claim("s", "a"), STORED)
    assert not uploads.complete("pi", "push-object", claim("s", "a"), STORED)
    assert not uploads.complete("pi", "push-object", claim("s", "b"), b"")  # not stored
    assert uploads.complete("pi", "push-object", claim("s", "b"), STORED)
    assert not uploads.complete("pi", "pull-messages", claim(), b"")


def test_who_lost_the_word_on_an_announced_answer_gets_it_again_with_what_is_still_missing() -> None:
    now = [0.0]
    uploads = Uploads(lambda: now[0])
    reply = replace(claim(), reply="answer")
    assert uploads.again("pi", "push-messages", reply) is None  # nothing was announced
    uploads.complete("pi", "push-messages", reply, announced("s", "a", "b"))
    assert uploads.again("pi", "push-messages", reply) == announced("s", "a", "b")
    uploads.complete("pi", "push-object", claim("s", "a"), STORED)
    assert uploads.again("pi", "push-messages", reply) == announced("s", "b")
    for other, spoken in (("phone", reply), ("pi", replace(reply, reply="another")), ("pi", claim())):
        assert uploads.again(other, "push-messages", spoken) is None
    assert uploads.again("pi", "pull-messages", reply) is None
    now[0] = 60.0  # nobody waits any more: the SuperLink says what becomes of it
    assert uploads.again("pi", "push-messages", reply) is None
    now[0] = 1.0
    uploads.complete("pi", "push-object", claim("s", "b"), STORED)
    assert uploads.again("pi", "push-messages", reply) is None  # it has come


def test_an_answer_without_parts_is_whole_and_one_of_another_life_is_called_so() -> None:
    uploads = Uploads()
    assert uploads.complete("pi", "push-messages", claim(), announced("s"))
    assert uploads.complete("pi", "push-object", claim("of before", "a"), STORED)
    assert uploads.complete("pi", "push-messages", claim(), b"\xff\xff")


def test_nobody_rings_with_parts_that_were_not_stored() -> None:
    uploads = Uploads()
    assert not uploads.complete("pi", "push-object", claim("made up", "a"), b"")
    assert not uploads.complete("pi", "push-object", claim("made up", "a"), b"\xff\xff")


def test_one_device_s_answer_is_not_another_s() -> None:
    uploads = Uploads()
    assert not uploads.complete("pi", "push-messages", claim(), announced("s", "a", "b"))
    assert not uploads.complete("other", "push-messages", claim(), announced("t", "a"))
    assert not uploads.complete("pi", "push-object", claim("s", "a"), STORED)
    assert uploads.complete("other", "push-object", claim("t", "a"), STORED)
    assert uploads.complete("pi", "push-object", claim("s", "b"), STORED)


def test_a_device_that_announces_again_and_again_takes_no_more_memory() -> None:
    uploads = Uploads()
    tracemalloc.start()
    for number in range(40):
        parts = (f"{number}-{part}" for part in range(400))
        uploads.complete("pi", "push-messages", claim(), announced(f"s{number}", *parts))
    uploads.complete("other", "push-messages", claim(), announced("s", *(f"{part:064}" for part in range(15_000))))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 200_000
    assert uploads.complete("other", "push-object", claim("s", "0"), STORED)  # it rings too often instead
