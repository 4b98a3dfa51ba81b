"""``/v1/fleet/*``: the calls by which an enrolled device takes part, passed on to the SuperLink's Fleet API.

A call is passed on when an enrolled device signed it (the SuperLink's own node signature covers a timestamp only), when
it speaks for that device's node and no other, and when it is one of those that a device needs. Nodes are registered
here, with the key that was enrolled; registering by oneself, and fetching code, are not among the calls.

What is sent on is made anew (:mod:`~skerry.server.gateway.superlink`): the method and path are ours, the headers a
short list, the body the one that was signed, but that signs of life promise the next one later. What idle devices say
and ask is not all passed on (:mod:`~skerry.server.gateway.idle`), and who waits at the bell is there without saying so.
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from skerry.server.bells import Rope
from skerry.server.devices import EnrolledDevice, Nodes
from skerry.server.engines.flwr_adapter import COORDINATOR_NODE
from skerry.server.engines.flwr_calls import FleetClaim, fleet_claim
from skerry.server.gateway.answers import FIXED_HEADERS, InParts, until_sent
from skerry.server.gateway.breaths import BREATH, Breaths
from skerry.server.gateway.idle import Idle
from skerry.server.gateway.reception import GatewayLimits, Reception
from skerry.server.gateway.refusal import GatewayRefusal, TurnedAwayError
from skerry.server.gateway.superlink import PROTOBUF, Superlink, ask_superlink
from skerry.server.gateway.superlink_line import Answered
from skerry.server.gateway.uploads import Uploads
from skerry.server.limits import Room

__all__ = ["FLEET_CALLS", "FleetPassage"]

_SMALL = 16 << 10
_OBJECT = (5 << 20) + (64 << 10)  # Flower cuts arrays into objects of 5 MiB and a head
_ANSWER = 1 << 20  # heads and trees of identifiers; only an object is larger

FLEET_CALLS: Mapping[str, int] = {
    "activate-node": _SMALL,
    "deactivate-node": _SMALL,
    "send-node-heartbeat": _SMALL,
    "pull-messages": _SMALL,
    "push-messages": 1 << 20,  # heads and trees of identifiers, no content
    "get-run": _SMALL,
    "pull-object": _SMALL,
    "push-object": _OBJECT,
    "confirm-message-received": _SMALL,
}
"""The calls that are passed on, and the largest body of each."""

_WAITING = 4  # calls that wait for a free place, for each place


class FleetPassage:
    """The endpoint; one for a gateway, on its event loop.

    Args:
        superlink: on loopback.
        nodes: node ids of devices.
        reception: lets requests in.
        limits: see :class:`~skerry.server.gateway.reception.GatewayLimits`.
        idle: knows what need not be passed on.
        answered: rung when an answer has come whole, if anybody listens.
    """

    def __init__(
        self,
        superlink: Superlink,
        nodes: Nodes,
        reception: Reception,
        limits: GatewayLimits,
        idle: Idle,
        answered: Rope | None = None,
    ) -> None:
        self._superlink = superlink
        self._nodes = nodes
        self._reception = reception
        self._idle = idle
        self._breaths = Breaths(superlink, idle, limits.superlink_s, partial(self._note, BREATH, ""))
        self._limits = limits
        # Threads of its own: when the SuperLink hangs, nothing else may wait for those who wait for it.
        self._registering = ThreadPoolExecutor(2, thread_name_prefix="nodes")
        self._places = asyncio.Semaphore(limits.superlink_calls)
        self._calls = Room(limits.superlink_calls * (1 + _WAITING), each=limits.calls_each)
        self._answers = Room(limits.answers, each=limits.answers_each)
        self._answered = answered
        self._uploads = Uploads()

    async def answer(self, request: Request) -> Response:
        """Pass one call on."""
        call = request.path_params["call"]
        if call not in FLEET_CALLS:
            raise TurnedAwayError(GatewayRefusal.NO_SUCH_PLACE, "no such call of the Fleet API is passed on")
        if request.headers.get("content-type") != PROTOBUF:
            raise TurnedAwayError(GatewayRefusal.MALFORMED, f"the content type must be {PROTOBUF}")
        device, body = await self._reception.device(request, body_limit=FLEET_CALLS[call])
        claim = fleet_claim(call, body)
        if claim is None:
            raise TurnedAwayError(GatewayRefusal.MALFORMED, "the body is not this call's message")
        node_id = self._nodes.known(device)
        said = None if node_id is None else self._said(call, claim, device, node_id, self._idle.stroke(node_id))
        if said is not None:  # nobody else has to wait for that, whatever the SuperLink does
            return _answer(Answered(HTTPStatus.OK, PROTOBUF, said))
        held = until_sent(request)
        with self._calls.hold(1, device.name) as granted:
            if not granted:
                raise TurnedAwayError(GatewayRefusal.BUSY, "the SuperLink is busy", retry_after_s=1.0)
            async with self._places:
                # before the call, since a message that was pulled is not given again
                longest = _OBJECT if call == "pull-object" else _ANSWER
                if not held.enter_context(self._answers.hold(longest, device.name)):
                    raise TurnedAwayError(GatewayRefusal.BUSY, "no room for the answer now", retry_after_s=1.0)
                return await self._pass_on(call, body, claim, device, request, longest)

    def came(self, device: EnrolledDevice, node_id: int, request: Request) -> None:
        """A device has come to wait at the bell: a sign of life."""
        self._breaths.came(device, node_id, request.headers)

    async def _pass_on(
        self, call: str, body: bytes, claim: FleetClaim, device: EnrolledDevice, request: Request, longest: int
    ) -> Response:
        try:
            async with asyncio.timeout(self._limits.superlink_s):
                node_id = self._nodes.known(device)
                if node_id is None:
                    loop = asyncio.get_running_loop()
                    node_id = await loop.run_in_executor(self._registering, self._nodes.node_id, device)
                stroke = self._idle.stroke(node_id)
                said = self._said(call, claim, device, node_id, stroke)
                if said is not None:
                    return _answer(Answered(HTTPStatus.OK, PROTOBUF, said))
                if call == "deactivate-node":
                    await self._breaths.left(node_id)
                sent = self._idle.sent(call, node_id, body)
                answer = await ask_superlink(self._superlink, call, sent, device, request.headers, longest)
        except TimeoutError as error:
            raise TurnedAwayError(
                GatewayRefusal.SUPERLINK_SLOW, "the SuperLink did not answer in time", retry_after_s=5.0
            ) from error
        except ConnectionError as error:
            raise TurnedAwayError(
                GatewayRefusal.SUPERLINK_DOWN, "the SuperLink does not answer", retry_after_s=5.0
            ) from error
        self._note(call, stroke, device, node_id, answer)
        if answer.status == HTTPStatus.OK and self._uploads.complete(device.name, call, claim, answer.content):
            self._ring_for(node_id)
        return _answer(answer)

    def _said(self, call: str, claim: FleetClaim, device: EnrolledDevice, node_id: int, stroke: str) -> bytes | None:
        """The answer to a call, which the device has to be allowed; None where the SuperLink has to be asked."""
        _check_speaker(claim, device, node_id)
        again = self._uploads.again(device.name, call, claim)
        return self._idle.answer(call, node_id, stroke) if again is None else again

    def _note(self, call: str, stroke: str, device: EnrolledDevice, node_id: int, answer: Answered) -> None:
        if answer.status == HTTPStatus.UNAUTHORIZED:
            self._nodes.forget(device)
            self._idle.refused(node_id)
        elif answer.status == HTTPStatus.OK:
            self._idle.answered(call, node_id, stroke, answer.content)

    def _ring_for(self, node_id: int) -> None:
        if self._answered is not None:
            self._answered.ring([node_id])


def _answer(answer: Answered) -> Response:
    return InParts(answer.content, answer.status, {**FIXED_HEADERS, "content-type": answer.kind})


def _check_speaker(claim: FleetClaim, device: EnrolledDevice, node_id: int) -> None:
    """Refuse a call in another node's name, and messages that are no replies of this node to the coordinator."""
    ours = claim.public_key in {None, device.node_key} and claim.node_id in {None, node_id}
    replies = all(
        message.source == node_id and message.destination == COORDINATOR_NODE and message.is_reply
        for message in claim.messages
    )
    if not (ours and replies):
        raise TurnedAwayError(GatewayRefusal.OTHER_NODE, "the call speaks for another node than the device's own")
