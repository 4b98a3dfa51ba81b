"""``POST /v1/bell``: a device waits here until it is worth asking for a message, instead of asking again and again.

The body is what the last ring that the device knows of is known by, at first nothing, which is answered at once. The
answer is that of the newest one: at once when it is another, else when it rings, or when
:attr:`~GatewayLimits.bell_s` are over. Nothing is given here, so nothing is lost with a connection that breaks: the
device then asks by the call that it always has.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from starlette.requests import Request
from starlette.responses import Response

from skerry.server.bells import Belfry
from skerry.server.devices import Nodes
from skerry.server.gateway.answers import FIXED_HEADERS
from skerry.server.gateway.reception import GatewayLimits, Reception
from skerry.server.gateway.refusal import GatewayRefusal, TurnedAwayError
from skerry.server.limits import Room

__all__ = ["BellTower"]

_LOOK_S = 0.02
_STROKE = 64
_EACH = 2  # one that the device has left without a word, and its next


class BellTower:
    """The endpoint; one for a gateway, on its event loop.

    Args:
        belfry: hears for which nodes there are messages.
        nodes: node ids of devices.
        reception: lets requests in.
        limits: see :class:`~skerry.server.gateway.reception.GatewayLimits`.
        closing: set before the server ends; nobody waits then.
    """

    def __init__(
        self, belfry: Belfry, nodes: Nodes, reception: Reception, limits: GatewayLimits, closing: asyncio.Event
    ) -> None:
        self._belfry = belfry
        self._closing = closing
        self._nodes = nodes
        self._reception = reception
        self._wait_s = limits.bell_s
        self._places = Room(limits.bells, each=_EACH)
        self._registering = ThreadPoolExecutor(1, thread_name_prefix="bell")  # the SuperLink may hang
        self._rung = asyncio.Event()
        self._look: asyncio.Task[None] | None = None
        self._waiting = 0

    async def wait(self, request: Request) -> Response:
        """Hold the request until it rings for the device."""
        device, body = await self._reception.device(request, body_limit=_STROKE)
        with self._places.hold(1, device.name) as granted:
            if not granted:
                raise TurnedAwayError(GatewayRefusal.BUSY, "too many wait here", retry_after_s=self._wait_s)
            loop = asyncio.get_running_loop()
            try:
                async with asyncio.timeout(self._wait_s):
                    node = await loop.run_in_executor(self._registering, self._nodes.node_id, device)
            except TimeoutError as error:
                raise TurnedAwayError(
                    GatewayRefusal.SUPERLINK_SLOW, "the SuperLink did not answer in time", retry_after_s=5.0
                ) from error
            except ConnectionError as error:
                raise TurnedAwayError(
                    GatewayRefusal.SUPERLINK_DOWN, "the SuperLink does not answer", retry_after_s=5.0
                ) from error
            gone = asyncio.ensure_future(request.receive())  # what comes after a whole body is the end of the line
            ringing = asyncio.ensure_future(self._newer(node, body.decode(errors="replace")))
            closing = asyncio.ensure_future(self._closing.wait())
            ends = (gone, ringing, closing)
            try:
                await asyncio.wait(ends, timeout=self._wait_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for end in ends:
                    end.cancel()
        return Response(self._belfry.last(node), headers=FIXED_HEADERS, media_type="text/plain")

    async def _newer(self, node: int, known: str) -> None:
        self._waiting += 1
        try:
            self._hear()  # who comes just after a ring hears it first, and must not be the only one
            while self._belfry.last(node) == known:
                if self._look is None or self._look.done():
                    self._look = asyncio.create_task(self._watch())
                await self._rung.wait()
        finally:
            self._waiting -= 1

    async def _watch(self) -> None:
        """One look for all who wait, and none when nobody does."""
        while self._waiting:
            self._hear()
            await asyncio.sleep(_LOOK_S)

    def _hear(self) -> None:
        if self._belfry.changed():
            self._rung.set()
            self._rung = asyncio.Event()
