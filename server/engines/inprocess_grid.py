"""Flower's ``Grid`` over a ``ClientApp`` object in this process: between coordinator and devices is a function call."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from skerry.errors import InputError
from skerry.server.engines import flwr_adapter
from skerry.server.engines.flwr_adapter import ErrorKind
from skerry.server.engines.grid import RunGrid

__all__ = ["RUN_ID", "InProcessGrid", "failed"]

_LOG = logging.getLogger(__name__)
RUN_ID = 1
"""What stands for Flower's run id: there is one run in a grid."""

_FIRST_NODE = flwr_adapter.COORDINATOR_NODE + 1


class InProcessGrid(RunGrid):
    """Flower's ``Grid`` over a ``ClientApp`` object in this process.

    Guarantees: replies come in the order in which their messages were pushed, whatever the number of workers; a node
    handles its messages one after another in that order, and its ``Context.state`` lives as long as the grid; a
    device that fails costs only its own reply, which then carries an ``Error`` with the exception's class name and
    nothing of its text (the text may quote private data; it goes to the local log). A device gets its own copy of
    the records: what it adds or removes is seen by nobody else.

    Assumption: a synchronous call cannot be cut short. A message that has not been started by the deadline is not
    started, and a reply that comes after it is withheld, as a real grid would; but the caller waits for the call that
    was under way.

    Args:
        client: the app that answers.
        nodes: one node configuration per node; node ids follow this order, from 2.
        workers: threads that answer. More than one needs an app that may be called from several threads.
        settle: called before replies leave the grid, or the process in which they were made. Should it raise, none of
            them does, and each becomes an ``Error``.
        clock: wall clock in seconds; ages messages against their time to live.
        monotonic: clock in seconds for deadlines.
    """

    def __init__(
        self,
        client: ClientApp,
        nodes: Sequence[Mapping[str, str | int]],
        *,
        workers: int = 1,
        settle: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if workers < 1:
            raise InputError(f"at least one worker is needed, got {workers}")
        super().__init__(flwr_adapter.empty_run(RUN_ID))
        self._client = client
        self._contexts = {
            node: Context(RUN_ID, node, dict(config), RecordDict(), {})
            for node, config in enumerate(nodes, start=_FIRST_NODE)
        }
        self._workers = workers
        self._settle = settle
        self._clock = clock
        self._monotonic = monotonic
        self._pushed: dict[str, Message] = {}
        self._count = 0

    def get_node_ids(self) -> list[int]:
        """All nodes, in the order of their configurations; a node in this process is never offline."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Take messages in; they are delivered when their replies are pulled."""
        identifiers = []
        for message in messages:
            self._count += 1
            identifier = f"{self._count:08x}"
            flwr_adapter.assign_id(message, identifier)
            if message.has_content():
                message.content = self._device_copy(message.content)
            self._pushed[identifier] = message
            identifiers.append(identifier)
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Deliver the messages of these ids, unless their time to live has passed, and return their replies.

        An id that is unknown, or whose reply was pulled before, gives nothing.
        """
        return self._deliver(message_ids, None)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Push, deliver, and return the replies that were ready within ``timeout`` seconds."""
        deadline = None if timeout is None else self._monotonic() + timeout
        return self._deliver(self.push_messages(messages), deadline)

    def _deliver(self, identifiers: Iterable[str], deadline: float | None) -> list[Message]:
        return [reply for reply in self._answer_all(self._due(identifiers), deadline) if reply is not None]

    def _due(self, identifiers: Iterable[str]) -> list[Message]:
        """The messages of these ids that were not delivered before, in the order in which they were pushed."""
        wanted = set(identifiers)
        return [self._pushed.pop(i) for i in sorted(wanted & self._pushed.keys())]

    def _answer_all(self, due: Sequence[Message], deadline: float | None) -> list[Message | None]:
        """The reply to each message; None where it is not to be had in time."""
        if self._workers == 1 or len(due) < 2:
            return self.settled(due, [self.answer(message, deadline) for message in due])
        replies: list[Message | None] = [None] * len(due)
        by_node: dict[int, list[int]] = {}
        for index, message in enumerate(due):
            by_node.setdefault(message.metadata.dst_node_id, []).append(index)

        def serve(indices: list[int]) -> None:
            for index in indices:
                replies[index] = self.answer(due[index], deadline)

        with ThreadPoolExecutor(self._workers) as pool:
            list(pool.map(serve, by_node.values()))
        return self.settled(due, replies)

    def _device_copy(self, records: RecordDict) -> RecordDict:
        """The records as the device gets them, which nobody else has."""
        copy = records.copy()
        for key in list(copy):
            copy[key] = copy[key].copy()
        return copy

    def settled(self, due: Sequence[Message], replies: list[Message | None]) -> list[Message | None]:
        """The replies to these messages, once they may leave; errors in their places if they may not."""
        try:
            self._settle()
        except Exception as error:  # noqa: BLE001 - whatever it was, no reply leaves, and the round goes on
            _LOG.exception("what replies rest on could not be settled: none of them leaves")
            return [reply and failed(message, error) for message, reply in zip(due, replies, strict=True)]
        return replies

    def answer(self, message: Message, deadline: float | None) -> Message | None:
        """One node's reply, made here and now; None when it is not ready by the deadline, in monotonic seconds."""
        metadata = message.metadata
        context = self._contexts.get(metadata.dst_node_id)
        if deadline is not None and self._monotonic() >= deadline:
            return None
        if context is None:
            return _refusal(message, ErrorKind.NODE_UNAVAILABLE, "there is no such node")
        if self._clock() >= metadata.created_at + metadata.ttl:
            return _refusal(message, ErrorKind.EXPIRED, "the message's time to live has passed")
        try:
            reply = self._client(message, context)
            if not isinstance(reply, Message):
                raise TypeError(f"the app returned {type(reply).__name__} instead of a Message")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - one bad reply costs that device its place, never the round
            _LOG.exception("node %d failed", metadata.dst_node_id)
            return failed(message, error)
        if deadline is not None and self._monotonic() >= deadline:
            return None
        flwr_adapter.assign_id(reply, f"{metadata.message_id}r")
        return reply


def failed(message: Message, error: BaseException) -> Message:
    """The reply of a device whose app failed: the exception's class, and nothing of its text."""
    return _refusal(message, ErrorKind.APP_FAILED, f"the device's app failed ({type(error).__name__})")


def _refusal(message: Message, kind: ErrorKind, text: str) -> Message:
    reply = Message(Error(int(kind), text), reply_to=message)
    flwr_adapter.assign_id(reply, f"{message.metadata.message_id}r")
    return reply
