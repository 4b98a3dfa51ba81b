"""The calls of Flower's Fleet API that idle devices make: signs of life, and questions that nothing answers.

Beside :mod:`~skerry.server.engines.flwr_adapter`: what the gateway has to read and write of them.
"""

from typing import Any

from skerry.server.engines.flwr_adapter import internals

__all__ = ["ALIVE", "LONGEST_S", "NOTHING", "lasting_longer", "nothing_came", "sign_of_life", "was_taken"]

ALIVE = b"\x08\x01"
"""The SuperLink's answer to a sign of life of a node that it knows (``SendNodeHeartbeatResponse``)."""

NOTHING = b""
"""Its answer to who asks for messages and has none (``PullMessagesResponse``)."""

LONGEST_S = 1800.0
"""For no longer may a node promise its next sign of life."""


def sign_of_life(node: int, interval_s: float) -> bytes:
    """The call by which a node says that it is there, and for how long its next such call may be waited for."""
    with internals("the signs of life"):
        from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
        from flwr.proto.node_pb2 import Node

        request = SendNodeHeartbeatRequest(node=Node(node_id=node), heartbeat_interval=interval_s)
        return bytes(request.SerializeToString())


def lasting_longer(call: str, body: bytes, more_s: float) -> bytes:
    """A sign of life, or the call by which a node comes online, that promises the next one so much later.

    What no SuperLink takes is left as it is, for the SuperLink to refuse.
    """
    with internals("the signs of life"):
        from flwr.proto.fleet_pb2 import ActivateNodeRequest
        from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest

        kinds: dict[str, Any] = {"send-node-heartbeat": SendNodeHeartbeatRequest, "activate-node": ActivateNodeRequest}
        if call not in kinds:
            return body
        request = kinds[call].FromString(body)
        if request.heartbeat_interval < LONGEST_S:
            request.heartbeat_interval = min(request.heartbeat_interval + more_s, LONGEST_S)
        return bytes(request.SerializeToString())


def was_taken(call: str, answer: bytes) -> bool:
    """Of the SuperLink's answer to one of these: whether the node is online now."""
    if call == "activate-node":
        return True  # it says so by its status
    with internals("the signs of life"):
        from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatResponse
        from google.protobuf.message import DecodeError

        try:
            return bool(SendNodeHeartbeatResponse.FromString(answer).success)
        except DecodeError:
            return False


def nothing_came(answer: bytes) -> bool:
    """Of the SuperLink's answer to who asked for messages: whether there was none."""
    with internals("the messages of the Fleet API"):
        from flwr.proto.fleet_pb2 import PullMessagesResponse
        from google.protobuf.message import DecodeError

        try:
            return not PullMessagesResponse.FromString(answer).messages_list
        except DecodeError:
            return False
