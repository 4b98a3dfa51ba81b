"""``GET /healthz`` and ``GET /readyz``, for whoever starts the gateway: they say nothing that is not for everybody.

*Healthy* is a gateway that answers. *Ready* is one that can serve devices: its registry can be read and its SuperLink
answers. Anybody may ask, so that is looked at once a second at most, however many ask.
"""

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skerry.errors import SkerryError
from skerry.server.devices import Devices
from skerry.server.gateway.answers import FIXED_HEADERS
from skerry.server.gateway.refusal import GatewayRefusal, TurnedAwayError
from skerry.server.gateway.superlink import Superlink
from skerry.server.gateway.superlink_line import TooLongError

__all__ = ["health_routes"]

_LOOK_S = 2.0
_HOLDS_S = 1.0
_NOBODY = "readyz"
_LONGEST = 64 << 10


def health_routes(superlink: Superlink, devices: Devices) -> list[Route]:
    """The two routes; ``superlink`` and ``devices`` as the gateway has them."""
    return [
        Route("/healthz", _healthy, methods=["GET"]),
        Route("/readyz", _Readiness(superlink, devices).answer, methods=["GET"]),
    ]


async def _healthy(_: Request) -> Response:
    return Response(b"ok\n", headers=FIXED_HEADERS, media_type="text/plain")


class _Readiness:
    """One look for all who ask within a second."""

    def __init__(self, superlink: Superlink, devices: Devices) -> None:
        self._superlink, self._devices = superlink, devices
        self._turn = asyncio.Lock()
        self._asked: asyncio.Task[object] | None = None  # of the registry, and not answered yet
        self._looked_s = float("-inf")
        self._lacks: str | None = None

    async def answer(self, _: Request) -> Response:
        """Ready, or what is lacking; the reason of that is in the log of whoever needed it."""
        async with self._turn:
            now_s = asyncio.get_running_loop().time()
            if now_s - self._looked_s >= _HOLDS_S:
                self._lacks = await self._look()
                self._looked_s = asyncio.get_running_loop().time()
        if self._lacks is not None:
            raise TurnedAwayError(
                GatewayRefusal.SERVER_FAILED, f"not ready: the {self._lacks} does not answer", retry_after_s=_LOOK_S
            )
        return Response(b"ready\n", headers=FIXED_HEADERS, media_type="text/plain")

    async def _look(self) -> str | None:
        if self._asked is None:  # a thread that waits cannot be ended: there is one at most
            self._asked = asyncio.create_task(asyncio.to_thread(self._devices.find, _NOBODY))
        answered, _ = await asyncio.wait({self._asked}, timeout=_LOOK_S)
        if not answered:
            return "registry"
        asked, self._asked = self._asked, None
        try:
            await asked
        except SkerryError:
            return "registry"
        try:
            async with asyncio.timeout(_LOOK_S):
                await self._superlink.exchange("GET", "/", {}, b"", longest=_LONGEST)  # whatever it says to that
        except TooLongError:
            return None  # it answers
        except (ConnectionError, TimeoutError):
            return "SuperLink"
        return None
