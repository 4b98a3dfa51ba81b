"""``POST /v1/bell``: a device waits here until it is worth asking for a message, instead of asking again and again.

The body is what the last ring that the device knows of is known by, at first nothing, which is answered at once. The
answer is that of the newest one: at once when it is another, else when it rings, or when
:attr:`~GatewayLimits.bell_s` are over. Nothing is given here, so nothing is lost with a connection that breaks: the
device then asks by the call that it always has.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random, SystemRandom

from starlette.requests import Request
from starlette.responses import Response

from skerry.server.bells import Belfry
from skerry.server.devices import EnrolledDevice, Nodes
from skerry.server.gateway.answers import FIXED_HEADERS
from skerry.server.gateway.reception import GatewayLimits, Reception
from skerry.server.gateway.refusal import GatewayRefusal, TurnedAwayError
from skerry.server.limits import Room

__all__ = ["BellTower"]

_LOOK_S = 0.02
_STROKE = 64
_SPREAD = 0.25  # of the longest wait: those whom one ring has woken do not all come back in the same moment again
_EACH = 2  # one that the device has left without a word, and its next


class BellTower:
    """The endpoint; one for a gateway, on its event loop.

    Args:
        belfry: hears for which nodes there are messages.
        nodes: node ids of devices.
        reception: lets requests in.
        limits: see :class:`~skerry.server.gateway.reception.GatewayLimits`.
        closing: set before the server ends; nobody waits then.
        came: is told of each device that comes to wait, its node and its request: a sign of life.
        random: gives jitter; no secret.
    """

    def __init__(
        self,
        belfry: Belfry,
        nodes: Nodes,
        reception: Reception,
        limits: GatewayLimits,
        closing: asyncio.Event,
        *,
        came: Callable[[EnrolledDevice, int, Request], None] = lambda *_: None,
        random: Random | None = None,
    ) -> None:
        self._belfry = belfry
        self._closing = closing
        self._nodes = nodes
        self._reception = reception
        self._wait_s = limits.bell_s
        self._places = Room(limits.bells, each=_EACH)
        self._registering = ThreadPoolExecutor(1, thread_name_prefix="bell")  # the SuperLink may hang
        self._came = came
        self._random = random or SystemRandom()
        self._look: asyncio.Task[None] | None = None
        self._waiting: dict[asyncio.Future[None], tuple[int, str]] = {}

    async def wait(self, request: Request) -> Response:
        """Hold the request until it rings for the device."""
        device, body = await self._reception.device(request, body_limit=_STROKE)
        with self._places.hold(1, device.name) as granted:
            if not granted:
                raise TurnedAwayError(GatewayRefusal.BUSY, "too many wait here", retry_after_s=self._wait_s)
            known = self._nodes.known(device)
            node = await self._registered(device) if known is None else known
            self._came(device, node, request)
            gone = asyncio.ensure_future(request.receive())  # what comes after a whole body is the end of the line
            rung = self._listen(node, body.decode(errors="replace"))
            wait_s = self._wait_s * self._random.uniform(1 - _SPREAD, 1)
            try:
                await asyncio.wait((gone, rung), timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                gone.cancel()
                del self._waiting[rung]
        return Response(self._belfry.last(node), headers=FIXED_HEADERS, media_type="text/plain")

    async def _registered(self, device: EnrolledDevice) -> int:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._wait_s):
                return await loop.run_in_executor(self._registering, self._nodes.node_id, device)
        except TimeoutError as error:
            raise TurnedAwayError(
                GatewayRefusal.SUPERLINK_SLOW, "the SuperLink did not answer in time", retry_after_s=5.0
            ) from error
        except ConnectionError as error:
            raise TurnedAwayError(
                GatewayRefusal.SUPERLINK_DOWN, "the SuperLink does not answer", retry_after_s=5.0
            ) from error

    def _listen(self, node: int, known: str) -> asyncio.Future[None]:
        """Done when the last ring for the node is another than is known, and when the server ends."""
        rung: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[rung] = node, known
        if self._belfry.changed():
            self._wake()  # who comes just after a ring hears it first, and must not be the only one
        self._tell(rung)
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._watch())
        return rung

    async def _watch(self) -> None:
        """One look for all who wait, and none when nobody does."""
        while self._waiting:
            if self._belfry.changed() or self._closing.is_set():
                self._wake()
            await asyncio.sleep(_LOOK_S)

    def _wake(self) -> None:
        for rung in self._waiting:
            self._tell(rung)

    def _tell(self, rung: asyncio.Future[None]) -> None:
        node, known = self._waiting[rung]
        if not rung.done() and (self._closing.is_set() or self._belfry.last(node) != known):
            rung.set_result(None)
