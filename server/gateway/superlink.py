"""The one way from the gateway to the SuperLink's Fleet API: a call that is made anew, on behalf of one device."""

import logging
from collections.abc import Mapping
from typing import Protocol

from skerry.server.devices import EnrolledDevice
from skerry.server.gateway.refusal import GatewayRefusal, TurnedAwayError
from skerry.server.gateway.superlink_line import Answered, TooLongError

__all__ = ["PROTOBUF", "Superlink", "ask_superlink"]

_log = logging.getLogger(__name__)

PROTOBUF = "application/protobuf"

_SENT_ON = ("flwr-timestamp", "flwr-signature", "flwr-package-name", "flwr-package-version", "flwr-component-name")


class Superlink(Protocol):
    """Who answers: :class:`~skerry.server.gateway.superlink_line.SuperlinkLine`."""

    async def exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, *, longest: int
    ) -> Answered:
        """See :meth:`~skerry.server.gateway.superlink_line.SuperlinkLine.exchange`."""
        ...


async def ask_superlink(
    superlink: Superlink,
    call: str,
    body: bytes,
    device: EnrolledDevice,
    headers: Mapping[str, str],
    longest: int,
) -> Answered:
    """Its answer to one call.

    Args:
        superlink: on loopback.
        call: last segment of the call's path.
        body: that it is sent.
        device: which key speaks is ours to say, whatever the headers say.
        headers: of the device's request, of which a short list is sent on.
        longest: bytes that the answer may have.

    Raises:
        ConnectionError: it does not answer.
        TurnedAwayError: its answer is too long (``server_failed``).
    """
    sent = {name: headers[name] for name in _SENT_ON if name in headers}
    sent |= {"content-type": PROTOBUF, "accept": PROTOBUF, "accept-encoding": "identity"}
    sent["flwr-public-key"] = device.node_key_header
    try:
        return await superlink.exchange("POST", f"/v1/fleet/{call}", sent, body, longest=longest)
    except TooLongError as error:
        _log.error("%s: the SuperLink's answer has more than %d bytes", call, longest)
        raise TurnedAwayError(GatewayRefusal.SERVER_FAILED, "the server cannot do this now") from error
