"""Idle devices as the gateway knows them, for tests."""

from flwr.proto.fleet_pb2 import PullMessagesResponse
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatResponse
from flwr.proto.message_pb2 import Message

from skerry.server.bells import Belfry, Bells
from skerry.server.gateway.idle import Idle, IdleLimits

BEAT, PULL, LEAVE = "send-node-heartbeat", "pull-messages", "deactivate-node"
TAKEN = SendNodeHeartbeatResponse(success=True).SerializeToString()
UNKNOWN = SendNodeHeartbeatResponse(success=False).SerializeToString()
LETTER = PullMessagesResponse(messages_list=[Message()]).SerializeToString()


def idle_beside(bells: Bells, now: list[float]) -> Idle:
    """Of a SuperLink that bears ten signs of life and five questions a second; ``now`` is its clock."""
    return Idle(Belfry(bells.asked), IdleLimits(beats_per_s=10, asks_per_s=5), lambda: now[0])


def online(idle: Idle, count: int) -> None:
    for node in range(1, count + 1):
        idle.answered(BEAT, node, "", TAKEN)


def asked(idle: Idle, node: int, answer: bytes = b"") -> None:
    idle.answered(PULL, node, idle.stroke(node), answer)


def answer(idle: Idle, call: str, node: int) -> bytes | None:
    return idle.answer(call, node, idle.stroke(node))
