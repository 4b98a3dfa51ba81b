"""The one way from the gateway to the SuperLink's Fleet API: a call that is made anew, on behalf of one device."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from skerry.server.devices import EnrolledDevice
from skerry.server.gateway.refusal import GatewayRefusal, TurnedAwayError

__all__ = ["PROTOBUF", "Answered", "ask_superlink"]

_log = logging.getLogger(__name__)

PROTOBUF = "application/protobuf"

_SENT_ON = ("flwr-timestamp", "flwr-signature", "flwr-package-name", "flwr-package-version", "flwr-component-name")


@dataclass(frozen=True)
class Answered:
    """What the SuperLink said: status, media type and content."""

    status: int
    kind: str
    content: bytes


async def ask_superlink(
    superlink: httpx.AsyncClient,
    call: str,
    body: bytes,
    device: EnrolledDevice,
    headers: Mapping[str, str],
    longest: int,
) -> Answered:
    """Its answer to one call.

    Args:
        superlink: a client whose base URL is the SuperLink on loopback.
        call: last segment of the call's path.
        body: that it is sent.
        device: which key speaks is ours to say, whatever the headers say.
        headers: of the device's request, of which a short list is sent on.
        longest: bytes that the answer may have.

    Raises:
        httpx.HTTPError: it does not answer.
        TurnedAwayError: its answer is too long (``server_failed``).
    """
    sent = {name: headers[name] for name in _SENT_ON if name in headers}
    sent |= {"content-type": PROTOBUF, "accept": PROTOBUF, "accept-encoding": "identity"}
    sent["flwr-public-key"] = device.node_key_header
    content = bytearray()
    async with superlink.stream("POST", f"/v1/fleet/{call}", content=body, headers=sent) as answer:
        async for part in answer.aiter_raw():
            content += part
            if len(content) > longest:
                _log.error("%s: the SuperLink's answer has more than %d bytes", answer.url.path, longest)
                raise TurnedAwayError(GatewayRefusal.SERVER_FAILED, "the server cannot do this now")
    return Answered(answer.status_code, answer.headers.get("content-type", "application/octet-stream"), bytes(content))
