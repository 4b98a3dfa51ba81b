"""A ``Grid`` over the SuperLink's Runtime API that waits for no node.

Heads of replies are asked for many at a time; what they hold is fetched by threads, each for a second, so that an
upload that stalls holds nobody, and a reply that is too large or is no reply is an error in its own place
(:mod:`~skerry.server.engines.flwr_replies`). A SuperLink that does not answer for a while is asked again; one that has
forgotten the run is an error at once, where Flower's own client raises SIGINT in its process.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from threading import Event
from typing import Any, TypeVar

import httpx
from flwr.app import Message

from skerry.errors import ServerLostError
from skerry.server.bells import Belfry, Bells, Rope
from skerry.server.engines.flwr_adapter import COORDINATOR_NODE, ErrorKind, assign_id, internals
from skerry.server.engines.flwr_replies import AnnouncedReply
from skerry.server.engines.grid import RunGrid

__all__ = ["DrivenGrid", "lost"]

_HEADS = 64  # in one answer: with each comes a list of parts, of up to 1 MiB when its node means harm
_FETCHERS = 16
_FETCH_S = 1.0  # of one attempt; then the others have their turn
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.02, 0.25  # between two looks for an object that is not there yet
_NEAR_S = 0.05  # what is on its way is waited for so long
_LOOK_S = 0.01  # between two looks at the bell
_TOGETHER = 16  # messages that are sent, and then rung for: the first nodes begin while others are sent theirs
_PATIENCE_S = 30.0
_AGAIN_S = 0.5

Answer = TypeVar("Answer")


class DrivenGrid(RunGrid):
    """Flower's ``Grid`` over its Runtime API.

    Guarantee: no call waits for a node, and nothing that a node sends makes a call raise. A reply is given when all of
    it has come; one of which a part is still missing after ``upload_s``, that is larger than ``largest``, or that is no
    reply at all, is given as an error. Replies that nobody asks for any more are forgotten after that time.

    Every call raises :class:`~skerry.errors.ServerLostError` when the SuperLink does not answer for half a minute, does
    not answer and is known to have ended, or does not know the run (any more).

    Args:
        runtime: Flower's client of the Runtime API, with the token of the run's task.
        run: Flower's record of the run.
        largest: bytes of a reply; no more of one is held.
        there: whether the SuperLink may answer again; asked when it does not.
        upload_s: how long an announced reply may take to come.
        bells: rung for nodes that were sent a message, and heard when one has answered; None: nobody rings.
        monotonic: clock in seconds.
    """

    def __init__(
        self,
        runtime: Any,
        run: Any,
        *,
        largest: int,
        there: Callable[[], bool] = lambda: True,
        upload_s: float = 60.0,
        bells: Bells | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        from flwr.proto.node_pb2 import Node

        super().__init__(run)
        self._runtime = runtime
        self._largest = largest
        self._there = there
        self._upload_s = upload_s
        self._monotonic = monotonic
        self._node = Node(node_id=COORDINATOR_NODE)
        self._fetchers = ThreadPoolExecutor(_FETCHERS, thread_name_prefix="replies")
        self._coming: dict[str, _Coming] = {}
        self._fetched = Event()
        self._rope = None if bells is None else Rope(bells.asked)
        self._belfry = None if bells is None else Belfry(bells.answered)

    def get_node_ids(self) -> list[int]:
        """Nodes that are connected now."""
        with internals("the list of a run's nodes"):
            from flwr.proto.runtime_pb2 import GetNodesRequest

            return [int(node.node_id) for node in self._ask(self._runtime.GetNodes, GetNodesRequest()).nodes]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send; the id of each message, under which its reply is asked for, or "" for one that was not taken."""
        left = list(messages)
        identifiers = []
        for first in range(0, len(left), _TOGETHER):
            some = left[first : first + _TOGETHER]
            identifiers += self._push(some)
            if self._rope is not None:
                self._rope.ring(message.metadata.dst_node_id for message in some)
        return identifiers

    def _push(self, messages: Sequence[Message]) -> list[str]:
        with internals("the sending of messages"):
            from flwr.app.message import remove_content_from_message
            from flwr.common.serde import message_to_proto
            from flwr.proto.runtime_pb2 import PushAppMessagesRequest
            from flwr.supercore.inflatable.inflatable_object import (
                get_all_nested_objects,
                get_object_tree,
                no_object_id_recompute,
            )
            from flwr.supercore.inflatable.inflatable_protobuf_utils import make_push_object_fn_protobuf
            from flwr.supercore.inflatable.inflatable_utils import push_objects

            heads, trees = [], []
            objects: dict[str, Any] = {}
            with no_object_id_recompute():
                for message in messages:
                    assign_id(message, message.object_id)
                    objects |= get_all_nested_objects(message)
                    trees.append(get_object_tree(message))
                    heads.append(message_to_proto(remove_content_from_message(message)))
                request = PushAppMessagesRequest(messages_list=heads, message_object_trees=trees)
                taken = self._ask(self._runtime.PushMessages, request)
                push = make_push_object_fn_protobuf(
                    lambda wanted: self._ask(self._runtime.PushObject, wanted),
                    self._node,
                    self._run.run_id,
                    taken.session_id,
                )
                push_objects(objects, push, object_ids_to_push=set(taken.objects_to_push))
            return [identifier or "" for identifier in taken.message_ids]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Replies to these messages that have come whole since the last call; waits 0.05 s for one that is coming."""
        self._fetched.clear()
        asked = set(message_ids)
        unheard = asked - self._coming.keys()
        if unheard:
            self._announce(unheard)
        coming = {i: self._coming[i] for i in asked & self._coming.keys()}
        if coming:
            wait([one.fetched for one in coming.values()], timeout=_NEAR_S, return_when=FIRST_COMPLETED)
        replies = [self._take(identifier) for identifier, one in coming.items() if one.fetched.done()]
        now = self._monotonic()
        for forgotten in [i for i, one in self._coming.items() if i not in asked and now > one.reply.until]:
            del self._coming[forgotten]
        return [reply for reply in replies if reply is not None]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Push, and return the replies that have come within ``timeout`` seconds."""
        end = None if timeout is None else self._monotonic() + timeout
        waiting = set(self.push_messages(messages)) - {""}
        replies: list[Message] = []
        while waiting and (end is None or self._monotonic() < end):
            found = self.pull_messages(waiting)
            waiting -= {reply.metadata.reply_to_message_id for reply in found}
            replies += found
            if not found:
                time.sleep(_NEAR_S)
        return replies

    def rest(self, seconds: float) -> None:
        """Wait so long, or until the gateway rings or a reply was fetched."""
        end = self._monotonic() + seconds
        while not self._fetched.is_set() and (left := end - self._monotonic()) > 0:
            if self._belfry is None:
                self._fetched.wait(left)
            elif self._belfry.changed():
                return
            else:
                self._fetched.wait(min(left, _LOOK_S))

    def close(self) -> None:
        """Wait for no upload any more."""
        self._fetchers.shutdown(wait=False, cancel_futures=True)

    def _announce(self, identifiers: set[str]) -> None:
        """Take heads of replies. The SuperLink tells of each once, and then forgets the message that it replies to."""
        with internals("the replies to messages"):
            from flwr.proto.runtime_pb2 import PullAppMessagesRequest

            asked = sorted(identifiers)
            for first in range(0, len(asked), _HEADS):
                request = PullAppMessagesRequest(message_ids=asked[first : first + _HEADS])
                found = self._ask(self._runtime.PullMessages, request)
                until = self._monotonic() + self._upload_s
                for head, tree in zip(found.messages_list, found.message_object_trees, strict=True):
                    reply = AnnouncedReply(head, tree, largest=self._largest, until=until)
                    self._coming[reply.asked] = _Coming(reply, self._fetching(reply))

    def _take(self, identifier: str) -> Message | None:
        """A reply that was fetched; None while a part of it is missing, and it is asked for again."""
        one = self._coming[identifier]
        whole = one.fetched.result()
        if not whole and self._monotonic() < one.reply.until:
            one.fetched = self._fetching(one.reply)
            return None
        del self._coming[identifier]
        if whole:
            return one.reply.message()
        return one.reply.error(ErrorKind.EXPIRED, f"its upload did not end within {self._upload_s:g} s")

    def _fetching(self, reply: AnnouncedReply) -> "Future[bool]":
        attempt = self._fetchers.submit(self._fetch, reply)
        attempt.add_done_callback(lambda _: self._fetched.set())
        return attempt

    def _fetch(self, reply: AnnouncedReply) -> bool:
        """Ask for the parts that are missing, for a second; whether none is missing any more."""
        end, pause = self._monotonic() + _FETCH_S, _FIRST_WAIT_S
        while missing := reply.missing:
            content = self._part(missing[0])
            if content is not None:
                reply.add(missing[0], content)
            elif self._monotonic() > end:
                return False
            else:
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_WAIT_S)
        with suppress(RuntimeError):  # the grid was closed meanwhile
            self._fetchers.submit(self._confirm, reply)
        return True

    def _confirm(self, reply: AnnouncedReply) -> None:
        with internals("the receipt of replies"):
            from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest

            here = ConfirmMessageReceivedRequest(
                node=self._node, run_id=self._run.run_id, message_object_id=reply.identifier
            )
            with suppress(httpx.HTTPError):  # it may forget the parts; when it does not, they go with the run
                self._runtime.ConfirmMessageReceived(here)

    def _part(self, name: str) -> bytes | None:
        """A part of a reply; None while it has not come."""
        with internals("the parts of replies"):
            from flwr.proto.message_pb2 import PullObjectRequest

            request = PullObjectRequest(node=self._node, run_id=self._run.run_id, object_id=name)
            answer = self._ask(self._runtime.PullObject, request)
            return bytes(answer.object_content) if answer.object_available else None

    def _ask(self, call: Callable[[Any], Answer], request: Any) -> Answer:
        end = self._monotonic() + _PATIENCE_S
        while True:
            try:
                return call(request)
            except httpx.HTTPStatusError as error:
                if error.response.status_code < httpx.codes.INTERNAL_SERVER_ERROR or self._given_up(end):
                    raise lost(f"it answers {error.response.status_code}") from error
            except httpx.TransportError as error:
                if self._given_up(end):
                    raise lost(f"{type(error).__name__}: {error}") from error
            time.sleep(_AGAIN_S)

    def _given_up(self, end: float) -> bool:
        return self._monotonic() > end or not self._there()


class _Coming:
    """A reply that was announced, and the attempt to fetch it that was begun last."""

    def __init__(self, reply: AnnouncedReply, fetched: "Future[bool]") -> None:
        self.reply, self.fetched = reply, fetched


def lost(why: str) -> ServerLostError:
    """The error for a SuperLink that does not do as asked."""
    return ServerLostError(
        "the SuperLink does not do as asked any more, or was started anew and does not know this run",
        where=why,
        mend="see `skerry server status`; when it runs, go on with `skerry run --resume RUN`",
    )
