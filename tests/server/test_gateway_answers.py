"""Answers of the SuperLink that nobody takes: what they hold is bounded, in all and for one device."""

import asyncio
from contextlib import closing

import pytest
from flwr.proto.message_pb2 import PullObjectRequest
from flwr.proto.node_pb2 import Node

from skerry.clock import system_clock
from skerry.server.gateway import GatewayLimits, SuperlinkLine, gateway
from skerry.server.gateway.superlink_line import Answered

from ._federation import Federation
from ._gateway import Roll, Signing
from ._superlink import says

OBJECT = bytes(3 << 20)
PATH = "/v1/fleet/pull-object"
BODY = PullObjectRequest(object_id="a" * 64, node=Node(node_id=7)).SerializeToString()


class Nodes:
    def node_id(self, device):
        return 7

    known = node_id

    def forget(self, device):
        raise AssertionError("the SuperLink knows it")


class Caller:
    """One request to the ASGI application; takes nothing of the answer until it is told to."""

    def __init__(self, device: Signing) -> None:
        headers = {"content-type": "application/protobuf", "content-length": str(len(BODY))}
        headers |= device.headers("POST", PATH, BODY)
        self.scope = {"type": "http", "method": "POST", "path": PATH, "raw_path": PATH.encode(), "query_string": b""}
        self.scope |= {"headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
        self.scope |= {"client": ("192.0.2.1", 1), "server": ("x", 443), "scheme": "https", "root_path": ""}
        self.takes, self.began, self.status, self.got = asyncio.Event(), asyncio.Event(), 0, b""

    async def receive(self):
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(self, message):
        self.status = message.get("status", self.status)
        self.began.set()
        if self.status == 200:
            await self.takes.wait()
        self.got += message.get("body", b"")


class Superlink:
    """Has one object for whoever asks."""

    async def exchange(self, *_, longest):
        return Answered(200, "application/protobuf", OBJECT)


def app(devices: list[Signing], tmp_path, superlink=None, **limits):
    return gateway(
        superlink=Superlink() if superlink is None else superlink,
        nodes=Nodes(),
        devices=Roll({device.name: device.enrolled for device in devices}),
        desk=Federation(tmp_path).desk,
        repository=tmp_path,
        clock=system_clock,
        limits=GatewayLimits(**limits),
        idle_since=0,
    )


@pytest.mark.parametrize("limit", [{"answers_each": 12 << 20}, {"answers": 12 << 20, "answers_each": 1 << 30}])
def test_answers_that_nobody_takes_hold_their_room_and_give_it_back(tmp_path, limit):
    device = Signing("pi-1")
    served = app([device], tmp_path, **limit)

    async def calls() -> None:
        slow = [Caller(device) for _ in range(6)]
        async with asyncio.TaskGroup() as group:
            for caller in slow:
                group.create_task(served(caller.scope, caller.receive, caller.send))
            async with asyncio.timeout(30):
                await asyncio.gather(*(caller.began.wait() for caller in slow))
            assert sorted(caller.status for caller in slow) == [200, 200, 503, 503, 503, 503]
            for caller in slow:
                caller.takes.set()
        assert [caller.got for caller in slow if caller.status == 200] == [OBJECT] * 2
        again = Caller(device)
        again.takes.set()
        await served(again.scope, again.receive, again.send)
        assert again.got == OBJECT

    asyncio.run(calls())


def test_an_answer_over_its_limit_is_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr("skerry.server.gateway.fleet._OBJECT", 1 << 20)
    device = Signing("pi-1")
    caller = Caller(device)

    async def asks() -> None:
        async with says(f"HTTP/1.1 200 OK\r\ncontent-length: {len(OBJECT)}\r\n\r\n".encode() + OBJECT) as (port, _):
            with closing(SuperlinkLine("127.0.0.1", port, None)) as line:
                await app([device], tmp_path, line)(caller.scope, caller.receive, caller.send)

    asyncio.run(asks())
    assert caller.status == 503
    assert b"server_failed" in caller.got
