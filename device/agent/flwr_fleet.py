"""The one module on a device that touches private parts of Flower: its Fleet API and the parts of its messages.

A message travels as a head, a tree of identifiers and the objects that these name. Pulled, it is marked as delivered
and never given again, so what is pulled is written down before it is worked on (:mod:`skerry.device.agent.journal`);
:class:`Parcel` is the form for that, for both directions.

Flower's own loop is not used: it waits three seconds between questions, ends the process on errors and raises SIGINT
on a 401. Traps that are met here:

- a message is visible before all of its objects are: asking again belongs to pulling;
- a reply is visible before its objects are: what is missing is sent within the same session, as a second reply to the
  same message is answered 200 and ignored;
- every reply that is too late, or the second one, is answered 200 too;
- a node that goes offline before its reply was collected has not replied.
"""

import math
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto import fleet_pb2, heartbeat_pb2, message_pb2, node_pb2
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as Protobuf

from skerry.device.agent.calls import CallFailedError, Fault
from skerry.device.agent.line import GatewayLine

__all__ = ["FleetCalls", "Parcel", "Session", "open_parcel", "pack"]

_MEDIA = "application/protobuf"
_SMALL, _OBJECT = 1 << 20, (5 << 20) + (64 << 10)
_MOST_OBJECTS, _LARGEST = 4096, 64 << 20  # of a message: what a small board can hold
_LATEST_S = 1e11  # some thousand years: times beyond are no times
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.02, 0.5
_PULL_S = 20.0  # who announced a message sends its parts at once, or died over it and asks again by another one

Answer = TypeVar("Answer", bound=Protobuf)


@dataclass(frozen=True)
class Parcel:
    """A message in parts.

    Attributes:
        head: the message without content, as Flower's protocol carries it.
        tree: the tree of identifiers.
        objects: contents by identifier; none of a message that was only announced.
    """

    head: bytes
    tree: bytes
    objects: Mapping[str, bytes]

    @property
    def metadata(self) -> message_pb2.Metadata:
        """Run, node and identifiers of the message."""
        found: message_pb2.Metadata = message_pb2.Message.FromString(self.head).metadata
        return found

    @property
    def life_ms(self) -> int:
        """For how long its answer was to be waited for, from the moment that it was made."""
        return round(1000 * self.metadata.ttl)

    @property
    def size(self) -> int:
        """Bytes of its objects."""
        return sum(map(len, self.objects.values()))

    @property
    def expires(self) -> int:
        """When nobody waits for an answer to it any more, ms."""
        found = self.metadata
        return round(1000 * (found.created_at + found.ttl))

    def check(self) -> None:
        """See that head, tree and times can be read, whoever sent them.

        Raises:
            ValueError: they cannot.
        """
        try:
            found = self.metadata
            message_pb2.ObjectTree.FromString(self.tree)
        except (DecodeError, TypeError) as error:
            raise ValueError("a message whose head or tree cannot be read") from error
        if not all(math.isfinite(time_s) and abs(time_s) < _LATEST_S for time_s in (found.created_at, found.ttl)):
            raise ValueError(f"a message of no time: made at {found.created_at}, to live {found.ttl} s")

    def identifiers(self) -> list[str]:
        """Of all objects, those that belong to another first."""
        tree = message_pb2.ObjectTree.FromString(self.tree)
        return [node.object_id for node in iterate_object_tree(tree)]


@dataclass(frozen=True)
class Session:
    """A reply that was announced: what the SuperLink still lacks of it goes to it under this identifier."""

    identifier: str
    missing: tuple[str, ...]


class FleetCalls:
    """The calls of the Fleet API by which a device takes part.

    Every call raises :class:`~skerry.device.agent.calls.CallFailedError`.

    Args:
        line: to the gateway.
        heartbeat_s: how often the SuperLink may expect a sign of life; after two that it misses the node is offline.
        sleep: waits so many seconds.
    """

    def __init__(
        self, line: GatewayLine, *, heartbeat_s: float = 30.0, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.line = line
        self.heartbeat_s = heartbeat_s
        self._sleep = sleep
        self._public = line.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self._public_header = b64encode(self._public).decode()

    def activate(self) -> int:
        """Come online; returns the node's id."""
        request = fleet_pb2.ActivateNodeRequest(public_key=self._public, heartbeat_interval=self.heartbeat_s)
        return int(self._call("activate-node", request, fleet_pb2.ActivateNodeResponse).node_id)

    def deactivate(self, node: int) -> None:
        """Go offline: who asks the node for something is told at once that it is not there."""
        request = fleet_pb2.DeactivateNodeRequest(node_id=node)
        self._call("deactivate-node", request, fleet_pb2.DeactivateNodeResponse)

    def heartbeat(self, node: int) -> bool:
        """A sign of life, which also brings a node back online; whether the SuperLink knows the node."""
        request = heartbeat_pb2.SendNodeHeartbeatRequest(node=_node(node), heartbeat_interval=self.heartbeat_s)
        return bool(self._call("send-node-heartbeat", request, heartbeat_pb2.SendNodeHeartbeatResponse).success)

    def pull(self, node: int) -> Parcel | None:
        """The next message, of which the SuperLink from now on believes that it was delivered; its objects lack.

        Raises:
            CallFailedError: also when it is none that can be answered (``gone``).
        """
        answer = self._call(
            "pull-messages", fleet_pb2.PullMessagesRequest(node=_node(node)), fleet_pb2.PullMessagesResponse
        )
        if not answer.messages_list:
            return None
        if not answer.message_object_trees:
            raise CallFailedError(Fault.GONE, "a message without a tree", where="pull-messages")
        head, tree = answer.messages_list[0], answer.message_object_trees[0]
        letter = Parcel(head.SerializeToString(), tree.SerializeToString(), {})
        try:
            letter.check()
        except ValueError as error:
            raise CallFailedError(Fault.GONE, str(error), where="pull-messages") from error
        return letter

    def fetch(self, node: int, announced: Parcel) -> Parcel:
        """The objects of a message that was announced."""
        wanted = dict.fromkeys(announced.identifiers())
        if len(wanted) > _MOST_OBJECTS:
            raise CallFailedError(Fault.GONE, f"a message of {len(wanted)} objects", where="pull-object")
        run, objects, held = announced.metadata.run_id, {}, 0
        for identifier in wanted:
            objects[identifier] = self._object(node, run, identifier)
            held += len(objects[identifier])
            if held > _LARGEST:
                raise CallFailedError(Fault.GONE, f"a message of more than {_LARGEST} bytes", where="pull-object")
        return Parcel(announced.head, announced.tree, objects)

    def confirm(self, node: int, letter: Parcel) -> None:
        """Say that the message is here: the SuperLink deletes its objects."""
        found = letter.metadata
        request = message_pb2.ConfirmMessageReceivedRequest(
            node=_node(node), run_id=found.run_id, message_object_id=found.message_id
        )
        self._call("confirm-message-received", request, message_pb2.ConfirmMessageReceivedResponse)

    def announce(self, node: int, reply: Parcel, runtime_s: float = 0.0) -> Session:
        """Announce a reply; said again while nobody has collected it, it opens another session."""
        request = fleet_pb2.PushMessagesRequest(
            node=_node(node),
            messages_list=[message_pb2.Message.FromString(reply.head)],
            message_object_trees=[message_pb2.ObjectTree.FromString(reply.tree)],
            clientapp_runtime_list=[runtime_s],
        )
        answer = self._call("push-messages", request, fleet_pb2.PushMessagesResponse)
        wanted = set(answer.objects_to_push)
        return Session(answer.session_id, tuple(name for name in reply.objects if name in wanted))

    def upload(self, node: int, reply: Parcel, session: Session, identifier: str) -> None:
        """Send one object of an announced reply.

        Raises:
            CallFailedError: also when the session is over (``gone``).
        """
        request = message_pb2.PushObjectRequest(
            node=_node(node),
            run_id=reply.metadata.run_id,
            object_id=identifier,
            object_content=reply.objects[identifier],
            session_id=session.identifier,
        )
        if not self._call("push-object", request, message_pb2.PushObjectResponse).stored:
            raise CallFailedError(Fault.GONE, "the reply is not taken any more", where="push-object")

    def presence(self) -> dict[str, str]:
        """Headers by which a SuperLink knows that the node speaks, and when."""
        spoken = self.line.spoken()
        stamp = datetime.fromtimestamp(spoken.now / 1000, UTC).isoformat()
        return {
            "flwr-public-key": self._public_header,
            "flwr-timestamp": stamp,
            "flwr-signature": b64encode(spoken.sign(stamp.encode())).decode(),
        }

    def _object(self, node: int, run: int, identifier: str) -> bytes:
        """One object, asked for until it is there."""
        request = message_pb2.PullObjectRequest(node=_node(node), run_id=run, object_id=identifier)
        wait, waited = _FIRST_WAIT_S, 0.0
        while waited < _PULL_S:
            answer = self._call("pull-object", request, message_pb2.PullObjectResponse, longest=_OBJECT)
            if not answer.object_found:
                raise CallFailedError(Fault.GONE, "an object of the message is gone", where="pull-object")
            if answer.object_available:
                return bytes(answer.object_content)
            self._sleep(wait)
            waited += wait
            wait = min(2 * wait, _LONGEST_WAIT_S)
        raise CallFailedError(Fault.GONE, "an object of the message does not come", where="pull-object")

    def _call(self, call: str, request: Protobuf, kind: type[Answer], *, longest: int = _SMALL) -> Answer:
        headers = {"content-type": _MEDIA, "accept": _MEDIA, **self.presence()}
        path = f"/v1/fleet/{call}"
        answer = self.line.post(path, request.SerializeToString(deterministic=True), headers, longest=longest)
        found: Answer = kind()
        try:
            found.ParseFromString(answer)
        except DecodeError as error:
            raise CallFailedError(Fault.UNREACHABLE, "the answer is not this call's", where=path) from error
        return found


def open_parcel(letter: Parcel) -> Message:
    """The message that a ``ClientApp`` takes.

    Raises:
        ValueError: the parts do not make a message.
    """
    try:
        head = message_from_proto(message_pb2.Message.FromString(letter.head))
        identifier = head.metadata.message_id
        message = inflate_object_from_contents(identifier, dict(letter.objects))
        if not isinstance(message, Message):
            raise TypeError("not a message")
    except (
        Exception
    ) as error:  # it is put together by Flower, which promises no certain error for parts that do not fit
        raise ValueError(f"the parts do not make a message: {type(error).__name__}") from error
    message.metadata.__dict__["_message_id"] = identifier  # no part of the content; the public property is read-only
    return message


def pack(reply: Message) -> Parcel:
    """A reply in parts."""
    with no_object_id_recompute():
        reply.metadata.__dict__["_message_id"] = reply.object_id
        objects = {name: part.deflate() for name, part in get_all_nested_objects(reply).items()}
        tree = get_object_tree(reply)
        head = remove_content_from_message(reply) if reply.has_content() else reply
        return Parcel(message_to_proto(head).SerializeToString(), tree.SerializeToString(), objects)


def _node(identifier: int) -> node_pb2.Node:
    return node_pb2.Node(node_id=identifier)
