"""A SuperLink in memory, as one device's calls see it, which does what a test tells it to."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.proto import fleet_pb2, heartbeat_pb2, message_pb2

from skerry.device.agent.calls import CallFailedError, Fault
from skerry.device.agent.flwr_fleet import Parcel, pack
from skerry.device.agent.line import Spoken
from skerry.server.engines.flwr_adapter import task_identity

NODE, RUN = 77, 5


def letter(text: bytes, *, ttl: float = 60.0, node: int = NODE) -> Parcel:
    """A message to the device."""
    with task_identity(RUN):
        content = RecordDict({"skerry": ConfigRecord({"envelope": text})})
        return pack(Message(content, dst_node_id=node, message_type="train", ttl=ttl))


@dataclass
class Superlink:
    """``fail`` hears of each call before it is answered, and may raise; ``heard`` lists what was called."""

    letters: list[Parcel] = field(default_factory=list)
    fail: Callable[[str], None] = lambda _: None
    node: int = NODE
    heard: list[str] = field(default_factory=list)
    replies: dict[str, dict[str, bytes]] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)
    hidden: int = 0
    """So many questions for an object are answered with "not yet"."""

    address = "memory"
    name = "pi"

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self._objects: dict[str, bytes] = {}
        self._missing: dict[str, set[str]] = {}

    def spoken(self) -> Spoken:
        return Spoken(self.key, time.time_ns() // 1_000_000)

    def post(self, path: str, body: bytes, headers, *, longest: int) -> bytes:
        call = path.rpartition("/")[2]
        self.heard.append(call)
        self.fail(call)
        answer = getattr(self, "_" + call.replace("-", "_"))(body)
        return answer.SerializeToString()

    def whole(self) -> list[bytes]:
        """The contents of replies of which nothing is missing."""
        return [b"".join(sorted(parts.values())) for name, parts in self.replies.items() if not self._missing[name]]

    def _activate_node(self, body: bytes):
        return fleet_pb2.ActivateNodeResponse(node_id=self.node)

    def _deactivate_node(self, body: bytes):
        return fleet_pb2.DeactivateNodeResponse()

    def _send_node_heartbeat(self, body: bytes):
        asked = heartbeat_pb2.SendNodeHeartbeatRequest.FromString(body)
        if asked.node.node_id != self.node:
            raise CallFailedError(Fault.NOT_REGISTERED, "another node")
        return heartbeat_pb2.SendNodeHeartbeatResponse(success=True)

    def _pull_messages(self, body: bytes):
        answer = fleet_pb2.PullMessagesResponse()
        if self.letters:
            one = self.letters.pop(0)
            answer.messages_list.append(message_pb2.Message.FromString(one.head))
            answer.message_object_trees.append(message_pb2.ObjectTree.FromString(one.tree))
            self._objects |= one.objects
        return answer

    def _pull_object(self, body: bytes):
        asked = message_pb2.PullObjectRequest.FromString(body)
        if self.hidden:
            self.hidden -= 1
            return message_pb2.PullObjectResponse(object_found=True, object_available=False)
        content = self._objects.get(asked.object_id)
        return message_pb2.PullObjectResponse(
            object_found=content is not None, object_available=content is not None, object_content=content or b""
        )

    def _confirm_message_received(self, body: bytes):
        self._objects.clear()
        return message_pb2.ConfirmMessageReceivedResponse()

    def _push_messages(self, body: bytes):
        asked = fleet_pb2.PushMessagesRequest.FromString(body)
        to = asked.messages_list[0].metadata.reply_to_message_id
        names = {node.object_id for node in _walk(asked.message_object_trees[0])}
        answer = fleet_pb2.PushMessagesResponse(session_id=f"session-{len(self.heard)}")
        if to in self.replies:  # the first one wins, and its objects are not asked for again
            return answer
        self.replies[to], self._missing[to] = {}, set(names)
        self.sessions[answer.session_id] = to
        answer.objects_to_push.extend(names)
        return answer

    def _push_object(self, body: bytes):
        asked = message_pb2.PushObjectRequest.FromString(body)
        to = self.sessions.get(asked.session_id)
        good = to is not None and hashlib.sha256(asked.object_content).hexdigest() == asked.object_id
        if good:
            self.replies[to][asked.object_id] = asked.object_content
            self._missing[to].discard(asked.object_id)
        return message_pb2.PushObjectResponse(stored=good)


def _walk(tree):
    for child in tree.children:
        yield from _walk(child)
    yield tree
