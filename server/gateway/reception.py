"""How a request is let in: its address has not failed too often, a device signed it, its body is small and in time.

Nothing is buffered without room for it, of which one party has a share only, and nothing waits without an end: a
gateway under load says so at once (``busy``, with ``Retry-After``) instead of queueing. The body of a request that a
device has to sign is not waited for before its head was seen to be signed.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request

from skerry.security.certificates import Role
from skerry.server.devices import DEVICES, EnrolledDevice
from skerry.server.gateway.answers import until_sent
from skerry.server.gateway.authentication import Authenticator
from skerry.server.gateway.refusal import GatewayRefusal, TurnedAwayError
from skerry.server.limits import Buckets, Rate, Room

__all__ = ["GatewayLimits", "Reception"]


_DEVICE = Rate(per_s=20.0, burst=100.0)  # a round is 13 to 25 calls, most of them at once
_STRANGER = Rate(per_s=50.0, burst=300.0)  # a class of devices behind one address enrols within a minute


@dataclass(frozen=True)
class GatewayLimits:
    """What one party may ask of a gateway, and how long it waits for anybody.

    Attributes:
        device: signed requests of one device.
        stranger: requests of one address that no device signed: enrolment, and failed authentication.
        room: bytes of bodies held at once, over all requests.
        room_each: bytes of bodies held at once for one device, or for one address that no device speaks from.
        body_s: seconds for a body to arrive.
        superlink_s: seconds for an answer of the SuperLink.
        superlink_calls: calls to the SuperLink at once; a few more wait, the rest is told to come back.
        calls_each: calls of one device that wait for the SuperLink, or for their turn.
        answers: bytes of the SuperLink's answers held at once, until they were taken.
        answers_each: of these for one device.
        downloads: downloads of one device at once.
        chunk_s: seconds for a reader to take one part of an answer, 1 MiB at most of a download.
        bells: devices that wait for a message at once; others ask again and again.
        bell_s: seconds that one may wait; then it is told that nothing came.
    """

    device: Rate = _DEVICE
    stranger: Rate = _STRANGER
    room: int = 64 << 20
    room_each: int = 12 << 20  # two objects of the largest kind, and what is small
    body_s: float = 20.0
    superlink_s: float = 60.0
    superlink_calls: int = 16
    calls_each: int = 8
    answers: int = 128 << 20
    answers_each: int = 12 << 20
    downloads: int = 4
    chunk_s: float = 30.0
    bells: int = 5120
    bell_s: float = 20.0


class Reception:
    """One for a gateway, on its event loop."""

    def __init__(self, authenticator: Authenticator, limits: GatewayLimits) -> None:
        self._authenticator = authenticator
        self._limits = limits
        self._devices = Buckets(limits.device, parties=2 * limits.bells)
        self._strangers = Buckets(limits.stranger)
        self._room = Room(limits.room, each=limits.room_each)

    async def device(
        self, request: Request, *, body_limit: int = 0, roles: Collection[Role] = DEVICES
    ) -> tuple[EnrolledDevice, bytes]:
        """Who signed the request, and the body, whose room is held until the answer is sent.

        Raises:
            TurnedAwayError: see the module.
        """
        address = _address(request)
        _spare(self._strangers.wait_s(address), "too many requests that no device signed came from this address")
        size = _announced(request, body_limit)
        path = request.scope["raw_path"].decode("ascii")  # as it came, which is what was signed
        try:
            head = self._authenticator.at_once(request.method, path, request.headers, roles=roles)
            if head is None:  # the registry may have to be read, or hang
                asked = self._authenticator.head
                head = await asyncio.to_thread(asked, request.method, path, request.headers, roles=roles)
        except TurnedAwayError:
            self._strangers.take(address)
            raise
        _spare(self._devices.take(head.device.name), "the device asks too often")
        body = await self._body(request, size, f"device {head.device.name}")
        head.check(body)
        return head.device, body

    async def stranger(self, request: Request, *, body_limit: int) -> bytes:
        """The body of a request that nobody needs to have signed.

        Raises:
            TurnedAwayError: see the module.
        """
        address = _address(request)
        _spare(self._strangers.take(address), "too many requests came from this address")
        return await self._body(request, _announced(request, body_limit), f"address {address}")

    async def _body(self, request: Request, size: int, party: str) -> bytes:
        if not until_sent(request).enter_context(self._room.hold(size, party)):
            raise TurnedAwayError(GatewayRefusal.BUSY, "no room for the body now", retry_after_s=1.0)
        try:
            async with asyncio.timeout(self._limits.body_s):
                return await request.body()
        except TimeoutError as error:
            raise TurnedAwayError(GatewayRefusal.TOO_SLOW, "the body did not come in time") from error
        except ClientDisconnect as error:
            raise TurnedAwayError(GatewayRefusal.BODY_INCOMPLETE, "the body is not whole") from error


def _announced(request: Request, limit: int) -> int:
    """The body's size, which must be said beforehand and within the limit; h11 holds the sender to it."""
    said = request.headers.get("content-length")
    if "transfer-encoding" in request.headers or (said is None and request.method == "POST"):
        raise TurnedAwayError(GatewayRefusal.NO_LENGTH, "say the body's size in Content-Length")
    size = int(said or "0")
    if size > limit:
        raise TurnedAwayError(GatewayRefusal.TOO_LARGE, f"a body of {size} bytes; {limit} are allowed here")
    return size


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _spare(wait_s: float, what: str) -> None:
    if wait_s:
        raise TurnedAwayError(GatewayRefusal.TOO_MANY, what, retry_after_s=wait_s)
