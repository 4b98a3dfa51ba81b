"""Thousands of idle agents in one process: ``python _idle_devices.py GATEWAY ROOTS KEYS NOTICES FIRST``.

Each does what the agent does while nothing happens, in its own words and at its own pace: it comes online, waits at the
bell, asks for messages when it hears a ring and now and then besides, gives signs of life while it does not hear, and
comes back ever later where something fails. It signs all of it with its own key, over connections of its own from one
of several loopback addresses, 127.0.0.FIRST and those after it. What differs from an agent is that one event loop plays
all of them, with sockets instead of httpx, and that a message is only taken notice of: in NOTICES, a line for each,
with when it was heard of, when it was asked for, and when it was there; and a line for each device that has come
online.

Prints one object for each SIGUSR1 and SIGTERM: what was asked since the one before, what failed, what it takes, and how
late its own event loop was: what is heard of that much late is not the gateway's doing.
"""

import asyncio
import json
import os
import random
import resource
import signal
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import psutil
import uvloop
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from flwr.proto.fleet_pb2 import ActivateNodeResponse, PullMessagesResponse
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatResponse

from skerry.clock import system_clock
from skerry.device.agent.flwr_fleet import FleetCalls
from skerry.device.agent.line import Spoken
from skerry.device.agent.pace import Backoff, Pace
from skerry.security.http_signature import sign_request

FROM_EACH_ADDRESS = 250  # the gateway has 512 connections for one, and a device has two at times
AT_ONCE = 24  # devices that come online
FILES = 16_000
TIMEOUT_S, KEPT_S = 30.0, 30.0
WORKED_LONG_AGO_S = 1e6
ASKS_S = 5.0  # for which the ear waits until the loop has asked
LOOK_S = 0.02  # at how late the event loop is
BELL = "/v1/bell"


class FailedError(Exception):
    """A request that was not answered with 200, and why."""

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.retry_after_s = reason, retry_after_s


class NotSentError(Exception):
    """What the agent's own code would have sent: there is nobody at the end of :class:`Mouth`."""

    def __init__(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        super().__init__(path)
        self.path, self.body, self.headers = path, body, headers


class Mouth:
    """In the place of an agent's line: takes what its calls would send."""

    address = ""

    def __init__(self, key: EllipticCurvePrivateKey) -> None:
        self.key = key

    def spoken(self) -> Spoken:
        return Spoken(self.key, system_clock())

    def post(self, path: str, body: bytes, headers: dict[str, str], **_: int) -> NoReturn:
        raise NotSentError(path, body, headers)


class Line:
    """A device's connections: one that is free is taken, and kept for a while; else one more is opened."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, address: str) -> None:
        self._to, self._tls, self._from = (host, port), context, address
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter, float]] = []

    async def send(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await self._connection()
            try:
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                size = int(headers.get("content-length", "0"))
                body = await reader.readexactly(size) if size else b""
                if "content-length" not in headers:
                    body = await _chunks(reader)
            except BaseException:
                writer.close()
                raise
            if headers.get("connection") == "close":
                writer.close()
            else:
                self._free.append((reader, writer, time.monotonic()))
            return int(head[0].split()[1]), headers, body

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._free:
            reader, writer, since = self._free.pop()
            if not reader.at_eof() and not writer.is_closing() and time.monotonic() - since < KEPT_S - 1:
                return reader, writer
            writer.close()
        host, port = self._to
        return await asyncio.open_connection(
            host, port, ssl=self._tls, local_addr=(self._from, 0), limit=1 << 16, ssl_handshake_timeout=TIMEOUT_S
        )


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body


class World:
    """What all devices share."""

    def __init__(self, notices: Path) -> None:
        self.sent, self.failed = Counter(), Counter()
        self.joining = asyncio.Semaphore(AT_ONCE)
        self.here = 0
        self.late: list[float] = []
        self._notices = notices.open("a")

    def notice(self, **what: float) -> None:
        self._notices.write(json.dumps(what) + "\n")
        self._notices.flush()

    def told(self) -> dict:
        ourselves, late = psutil.Process(), sorted(self.late) or [0.0]
        said = {
            "here": self.here, "sent": dict(self.sent), "failed": dict(self.failed), "at": time.time(),
            "cpu_s": time.process_time(), "connections": ourselves.num_fds(),
            "rss_mb": ourselves.memory_info().rss / 1e6, "late_p95_s": late[int(0.95 * len(late))], "late_s": late[-1],
        }  # fmt: skip
        self.sent, self.failed, self.late = Counter(), Counter(), []
        return said

    async def watch(self) -> None:
        """Notes how late the event loop comes to what is due."""
        while True:
            due = time.monotonic() + LOOK_S
            await asyncio.sleep(LOOK_S)
            self.late.append(time.monotonic() - due)


class Device:
    def __init__(self, name: str, key: bytes, line: Line, host: str, world: World) -> None:
        self.name, self.line, self.host, self.world = name, line, host, world
        self.key = load_pem_private_key(key, None)
        self.mouth = Mouth(self.key)
        self.calls, self.pace = FleetCalls(self.mouth), Pace()
        self.random = random.Random(name)
        self.node, self.hears, self.heard, self.heard_at = 0, False, "", 0.0
        self.nudged, self.asked = asyncio.Event(), asyncio.Event()

    async def live(self) -> None:
        backoff = Backoff(0.5, 30.0, self.random.uniform)
        while not self.node:
            try:
                async with self.world.joining:
                    answer = await self.ask(self.calls.activate)
                    self.node = ActivateNodeResponse.FromString(answer).node_id
                    await self.pull()
                    self.heard = (await self.post(BELL, b"", self.calls.presence())).decode()
            except FailedError as error:
                await asyncio.sleep(backoff.failed(error.retry_after_s))
        self.hears = True
        self.world.notice(node=self.node, came=time.time())
        self.world.here += 1
        await asyncio.gather(self.ear(), self.asks(), self.beats())

    async def ear(self) -> None:
        backoff = Backoff(5.0, 600.0, self.random.uniform)
        while True:
            try:
                stroke = (await self.post(BELL, self.heard.encode(), self.calls.presence())).decode()
            except FailedError as error:
                self.hears = False
                await asyncio.sleep(backoff.failed(error.retry_after_s))
                continue
            backoff.worked()
            if stroke != self.heard:
                self.heard, self.heard_at = stroke, time.time()
                self.asked.clear()
                self.nudged.set()
                with suppress(TimeoutError):
                    async with asyncio.timeout(ASKS_S):
                        await self.asked.wait()
            self.hears = True

    async def asks(self) -> None:
        while True:
            wait_s = self.pace.wait(WORKED_LONG_AGO_S, self.random, hears=self.hears)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self.nudged.wait()
            self.nudged.clear()
            with suppress(FailedError):
                await self.pull()
                self.asked.set()

    async def pull(self) -> None:
        asked = time.time()
        found = PullMessagesResponse.FromString(await self.ask(self.calls.pull, self.node)).messages_list
        for message in found:
            self.world.notice(node=message.metadata.dst_node_id, heard=self.heard_at, asked=asked, there=time.time())

    async def beats(self) -> None:
        while True:
            await asyncio.sleep(self.calls.heartbeat_s * 0.6 * self.random.uniform(0.9, 1.0))
            if not self.hears:
                with suppress(FailedError):
                    SendNodeHeartbeatResponse.FromString(await self.ask(self.calls.heartbeat, self.node))

    async def ask(self, call: Callable[..., object], *node: int) -> bytes:
        """One of the agent's own calls; the bytes that answer it."""
        try:
            call(*node)
        except NotSentError as said:
            return await self.post(said.path, said.body, said.headers)
        raise AssertionError("a call that asks nothing")

    async def post(self, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        spoken = self.mouth.spoken()
        signed = sign_request(
            "POST", path, body, key_id=self.name, sign=spoken.sign, created=spoken.now // 1000,
            nonce=os.urandom(16).hex(),
        )  # fmt: skip
        given = {"host": self.host, "accept": "*/*", "connection": "keep-alive", "user-agent": "python-httpx",
                 "accept-encoding": "identity", **headers, **signed, "content-length": str(len(body))}  # fmt: skip
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        self.world.sent[path.rpartition("/")[2]] += 1
        try:
            status, told, answer = await self.line.send(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        except (OSError, EOFError, TimeoutError, asyncio.IncompleteReadError) as error:
            self.world.failed[type(error).__name__] += 1
            raise FailedError(type(error).__name__) from error
        if status != 200:
            reason = json.loads(answer)["error"]["reason"] if answer.startswith(b"{") else str(status)
            self.world.failed[reason] += 1
            raise FailedError(reason, float(told.get("retry-after", "0")))
        return answer


async def main(gateway: str, roots: Path, keys: Mapping[str, str], notices: Path, first: int) -> None:
    at, over = urlsplit(gateway), asyncio.Event()
    context = ssl.create_default_context(cafile=str(roots))
    world = World(notices)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, lambda: print(json.dumps(world.told()), flush=True))
    loop.add_signal_handler(signal.SIGTERM, over.set)
    devices = []
    for number, (name, key) in enumerate(keys.items()):
        line = Line(at.hostname, at.port, context, f"127.0.0.{first + number // FROM_EACH_ADDRESS}")
        devices.append(Device(name, key.encode(), line, at.netloc, world))
    print(json.dumps(world.told()), flush=True)  # it can be asked from now on
    lives = [asyncio.create_task(device.live()) for device in devices]
    ended = asyncio.gather(world.watch(), *lives)
    await asyncio.wait([ended, asyncio.create_task(over.wait())], return_when=asyncio.FIRST_COMPLETED)
    if ended.done():
        ended.result()
    print(json.dumps(world.told()), flush=True)
    os._exit(0)  # thousands of connections need not be closed one by one


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    at_gateway, pinned, secret, told, address = sys.argv[1:]
    of_devices = json.loads(Path(secret).read_text())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(at_gateway, Path(pinned), of_devices, Path(told), int(address)))
