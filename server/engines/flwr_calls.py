"""The calls of Flower's Fleet API, by which devices come and go, fetch messages and upload replies: what they say.

Beside :mod:`~skerry.server.engines.flwr_adapter`: what the gateway reads of calls and of the SuperLink's answers, and
the one answer that it changes.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from skerry.server.engines.flwr_adapter import internals

__all__ = [
    "FleetClaim",
    "FleetMessage",
    "announced_parts",
    "fleet_claim",
    "part_was_stored",
    "still_missing",
]


@dataclass(frozen=True)
class FleetMessage:
    """From which node to which a pushed message says that it goes, and whether it names what it replies to."""

    source: int
    destination: int
    is_reply: bool


@dataclass(frozen=True)
class FleetClaim:
    """For whom a call of the Fleet API says that it speaks; ``None`` where that call does not say it."""

    node_id: int | None
    public_key: bytes | None
    messages: tuple[FleetMessage, ...]
    session: str = ""
    """Of an upload; empty elsewhere."""
    part: str = ""
    """That is uploaded; empty elsewhere."""
    reply: str = ""
    """That is announced; empty elsewhere, and where several are."""


def fleet_claim(call: str, body: bytes) -> FleetClaim | None:
    """Read for whom the body of a Fleet API call speaks.

    Args:
        call: last segment of the call's path, such as ``pull-messages``.
        body: the serialized request.

    Returns:
        ``None`` when the body is not that call's message, or ``call`` is not known.
    """
    with internals("the messages of the Fleet API"):
        from flwr.proto import fleet_pb2, heartbeat_pb2, message_pb2, run_pb2
        from google.protobuf.message import DecodeError

        kinds: dict[str, Any] = {
            "activate-node": fleet_pb2.ActivateNodeRequest,
            "deactivate-node": fleet_pb2.DeactivateNodeRequest,
            "send-node-heartbeat": heartbeat_pb2.SendNodeHeartbeatRequest,
            "pull-messages": fleet_pb2.PullMessagesRequest,
            "push-messages": fleet_pb2.PushMessagesRequest,
            "get-run": run_pb2.GetRunRequest,
            "pull-object": message_pb2.PullObjectRequest,
            "push-object": message_pb2.PushObjectRequest,
            "confirm-message-received": message_pb2.ConfirmMessageReceivedRequest,
        }
        if call not in kinds:
            return None
        try:
            request = kinds[call].FromString(body)
        except DecodeError:
            return None
        fields = request.DESCRIPTOR.fields_by_name
        node_id = request.node.node_id if "node" in fields else request.node_id if "node_id" in fields else None
        messages = request.messages_list if "messages_list" in fields else ()
        identifiers = [str(message.metadata.message_id) for message in messages]
        return FleetClaim(
            node_id=None if node_id is None else int(node_id),
            public_key=bytes(request.public_key) if "public_key" in fields else None,
            messages=tuple(
                FleetMessage(
                    int(message.metadata.src_node_id),
                    int(message.metadata.dst_node_id),
                    bool(message.metadata.reply_to_message_id),
                )
                for message in messages
            ),
            session=str(request.session_id) if call == "push-object" else "",
            part=str(request.object_id) if call == "push-object" else "",
            reply=identifiers[0] if len(identifiers) == 1 else "",
        )


def announced_parts(answer: bytes) -> tuple[str, frozenset[str]]:
    """Of the SuperLink's answer to an announced reply: the session of its upload, and the parts that it lacks."""
    with internals("the messages of the Fleet API"):
        from flwr.proto.fleet_pb2 import PushMessagesResponse
        from google.protobuf.message import DecodeError

        try:
            found = PushMessagesResponse.FromString(answer)
        except DecodeError:
            return "", frozenset()
        return str(found.session_id), frozenset(map(str, found.objects_to_push))


def still_missing(answer: bytes, parts: Collection[str]) -> bytes:
    """The SuperLink's answer to an announced reply, when it lacks only these parts of those that it named."""
    with internals("the messages of the Fleet API"):
        from flwr.proto.fleet_pb2 import PushMessagesResponse

        found = PushMessagesResponse.FromString(answer)
        left = [name for name in found.objects_to_push if name in parts]
        found.ClearField("objects_to_push")
        found.objects_to_push.extend(left)
        return bytes(found.SerializeToString())


def part_was_stored(answer: bytes) -> bool:
    """Of the SuperLink's answer to an upload: whether it waited for that part, and has kept it."""
    with internals("the messages of the Fleet API"):
        from flwr.proto.message_pb2 import PushObjectResponse
        from google.protobuf.message import DecodeError

        try:
            return bool(PushObjectResponse.FromString(answer).stored)
        except DecodeError:
            return False
