"""A node's reply on its way to the coordinator: what may be fetched of it, and what it turns out to be.

A SuperLink hands on what a node wrote without reading it. So nothing is asked for before the list of a reply's parts is
short and names parts as Flower does, no more is held than a reply of this run can have, and whatever cannot be put
together is an error in the place of that reply, as if the node had said so itself. What the SuperLink says in its own
name, that a node is away or a message's time is over, is told apart from that.
"""

import re
from typing import Any

from flwr.app import Error, Message, Metadata, RecordDict

from skerry.server.engines.flwr_adapter import COORDINATOR_NODE, ErrorKind, assign_id, internals

__all__ = ["MOST_PARTS", "AnnouncedReply"]

MOST_PARTS = 8
"""A message, its records, the one record that skerry's devices fill; and room for Flower to change."""

_PART = re.compile("[0-9a-f]{64}")


class AnnouncedReply:
    """A reply of which the head is here.

    Guarantee: it holds at most :data:`MOST_PARTS` parts and ``largest`` bytes of them; :meth:`message` raises nothing.

    Args:
        head: Flower's message without content.
        tree: Flower's tree of the parts.
        largest: bytes of all parts together.
        until: by which clock reading it must be whole; kept for the caller.
    """

    def __init__(self, head: Any, tree: Any, *, largest: int, until: float) -> None:
        self.until = until
        self.asked = str(head.metadata.reply_to_message_id)
        self.identifier = str(head.metadata.message_id)
        self._node = int(head.metadata.src_node_id)
        self._largest = largest
        self._parts: dict[str, bytes] = {}
        self._wrong: str | None = "the node answered with an error" if head.HasField("error") else None
        self._kind = ErrorKind.APP_FAILED
        if self._wrong and self._node == COORDINATOR_NODE:  # which no node may say of itself
            away = head.error.code == ErrorKind.NODE_UNAVAILABLE
            self._kind = ErrorKind.NODE_UNAVAILABLE if away else ErrorKind.EXPIRED
            self._wrong = "the node is away" if away else "its time is over"
        self._named = [] if self._wrong else self._names(tree)

    @property
    def missing(self) -> list[str]:
        """Parts that are still to be fetched; none of a reply that is wrong already."""
        return [] if self._wrong else [name for name in self._named if name not in self._parts]

    def add(self, name: str, content: bytes) -> None:
        """Keep a part, or drop all of them when they are too much."""
        self._parts[name] = content
        if sum(map(len, self._parts.values())) > self._largest:
            self._refuse(f"it has more than the {self._largest} bytes that a reply of this run may have")

    def message(self) -> Message:
        """The reply when nothing is missing; an error in its place when the parts do not make one."""
        if self._wrong is not None:
            return self.error(self._kind, self._wrong)
        try:
            found = self._put_together()
        except Exception as error:  # noqa: BLE001 - Flower promises no certain error for parts that do not fit
            return self.error(ErrorKind.APP_FAILED, f"its parts make no reply: {type(error).__name__}")
        assign_id(found, self.identifier)
        return found

    def error(self, kind: ErrorKind, why: str) -> Message:
        """A message that says in the node's place why there is no reply."""
        with internals("the form of a message"):
            from flwr.app.message import make_message

            metadata = Metadata(
                run_id=0,
                message_id="",
                src_node_id=self._node,
                dst_node_id=COORDINATOR_NODE,
                message_type="train",
                group_id="",
                ttl=0,
                reply_to_message_id=self.asked,
                created_at=0,
            )
            return make_message(metadata, error=Error(int(kind), why))

    def _put_together(self) -> Message:
        from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

        found = inflate_object_from_contents(self.identifier, self._parts)
        if not isinstance(found, Message) or found.metadata.reply_to_message_id != self.asked:
            raise ValueError("no reply to what was asked")
        if not found.has_error() and not isinstance(found.content, RecordDict):
            raise TypeError("a message of no records")
        return found

    def _names(self, tree: Any) -> list[str]:
        """The parts that the tree names, the message among them."""
        with internals("the tree of a message's parts"):
            from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
        found: dict[str, None] = {}
        for part in iterate_object_tree(tree):
            found[part.object_id] = None
            if len(found) > MOST_PARTS:
                return self._refuse(f"it has more than {MOST_PARTS} parts")
        if self.identifier not in found or not all(map(_PART.fullmatch, found)):
            return self._refuse("its parts are not named as Flower names them")
        return list(found)

    def _refuse(self, why: str) -> list[str]:
        self._wrong = why
        self._parts.clear()
        return []
