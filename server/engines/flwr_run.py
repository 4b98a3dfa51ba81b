"""A run that this process drives over a SuperLink itself: with :mod:`flwr_adapter`, all that touches Flower's inside.

Flower starts a coordinator as a program of its own, which takes two to three seconds, and lends it a ``Grid`` that
waits for one reply after another: a node that announces a reply and never uploads it would hold all others for three
minutes. Here the process that conducts the run claims the run's task from the SuperLink, which gives it to whoever
knows its secret, and speaks to the SuperLink by itself:

- heads of replies are asked for in one call; what they hold is fetched by threads, each for a second at a time, so that
  an upload that stalls holds nobody;
- a SuperLink that does not answer for a while is asked again; one that has forgotten the run is an error at once, where
  Flower's own client raises SIGINT in its process.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any, TypeVar

import httpx
from flwr.app import Error, Message, RecordDict
from flwr.serverapp import Grid

from skerry.errors import RunFailedError
from skerry.server.engines.flwr_adapter import COORDINATOR_NODE, Control, ErrorKind, assign_id, internals, task_identity

__all__ = ["DrivenGrid", "driven_run"]

_FETCHERS = 16
_FETCH_S = 1.0  # of one attempt; then the others have their turn
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.02, 0.25  # between two looks for an object that is not there yet
_NEAR_S = 0.05  # what is on its way is waited for so long
_PATIENCE_S = 30.0
_AGAIN_S = 0.5
_BEAT_S = 10.0
_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"

Answer = TypeVar("Answer")


class DrivenGrid(Grid):
    """Flower's ``Grid`` over its Runtime API.

    Guarantee: no call waits for a node. A reply is given when all of it has come; one of which a part is still missing
    after ``upload_s`` is given as an error. Replies that nobody asks for any more are forgotten after that time.

    Every call raises :class:`~skerry.errors.RunFailedError` when the SuperLink does not answer for half a minute, or
    does not know the run (any more).

    Args:
        runtime: Flower's client of the Runtime API, with the token of the run's task.
        run: Flower's record of the run.
        upload_s: how long an announced reply may take to come.
        monotonic: clock in seconds.
    """

    def __init__(
        self, runtime: Any, run: Any, *, upload_s: float = 60.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        from flwr.proto.node_pb2 import Node

        self._runtime = runtime
        self._run = run
        self._upload_s = upload_s
        self._monotonic = monotonic
        self._node = Node(node_id=COORDINATOR_NODE)
        self._fetchers = ThreadPoolExecutor(_FETCHERS, thread_name_prefix="replies")
        self._coming: dict[str, _Coming] = {}

    @property
    def run(self) -> Any:
        """Flower's record of the run."""
        return self._run

    def set_run(self, run: Any) -> None:
        """Keep the record to be shown as :attr:`run`."""
        self._run = run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Deprecated by Flower in favour of ``Message(...)``, but part of its interface."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """Nodes that are connected now."""
        with internals("the list of a run's nodes"):
            from flwr.proto.runtime_pb2 import GetNodesRequest

            return [int(node.node_id) for node in self._ask(self._runtime.GetNodes, GetNodesRequest()).nodes]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send; the id of each message, under which its reply is asked for, or "" for one that was not taken."""
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
                if not heads:
                    return []
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
        asked = set(message_ids)
        unheard = asked - self._coming.keys()
        if unheard:
            self._announce(unheard)
        coming = {i: self._coming[i] for i in asked & self._coming.keys()}
        if coming:
            wait([one.fetched for one in coming.values()], timeout=_NEAR_S, return_when=FIRST_COMPLETED)
        replies = [self._take(identifier) for identifier, one in coming.items() if one.fetched.done()]
        now = self._monotonic()
        for forgotten in [i for i, one in self._coming.items() if i not in asked and now > one.until]:
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

    def close(self) -> None:
        """Wait for no upload any more."""
        self._fetchers.shutdown(wait=False, cancel_futures=True)

    def _announce(self, identifiers: set[str]) -> None:
        """Take heads of replies. The SuperLink tells of each once, and then forgets the message that it replies to."""
        with internals("the replies to messages"):
            from flwr.proto.runtime_pb2 import PullAppMessagesRequest

            found = self._ask(self._runtime.PullMessages, PullAppMessagesRequest(message_ids=identifiers))
            until = self._monotonic() + self._upload_s
            for head, tree in zip(found.messages_list, found.message_object_trees, strict=True):
                fetched = self._fetchers.submit(self._fetch, head, tree)
                self._coming[head.metadata.reply_to_message_id] = _Coming(head, tree, until, fetched)

    def _take(self, identifier: str) -> Message | None:
        """A reply that was fetched; None while a part of it is missing, and it is asked for again."""
        one = self._coming[identifier]
        try:
            reply = one.fetched.result()
        except _IncompleteError:
            if self._monotonic() < one.until:
                one.fetched = self._fetchers.submit(self._fetch, one.head, one.tree)
                return None
            reply = self._never_came(one)
        del self._coming[identifier]
        return reply

    def _fetch(self, head: Any, tree: Any) -> Message:
        with internals("the content of replies"):
            from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
            from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
            from flwr.supercore.inflatable.inflatable_protobuf_utils import make_pull_object_fn_protobuf
            from flwr.supercore.inflatable.inflatable_utils import (
                ObjectPullError,
                inflate_object_from_contents,
                pull_objects,
            )

            pull = make_pull_object_fn_protobuf(
                lambda wanted: self._ask(self._runtime.PullObject, wanted), self._node, self._run.run_id
            )
            identifier = head.metadata.message_id
            try:
                objects = pull_objects(
                    [part.object_id for part in iterate_object_tree(tree)],
                    pull,
                    max_time=_FETCH_S,
                    max_tries_per_object=None,
                    initial_backoff=_FIRST_WAIT_S,
                    backoff_cap=_LONGEST_WAIT_S,
                )
            except ObjectPullError as error:
                raise _IncompleteError from error
            confirmed = ConfirmMessageReceivedRequest(
                node=self._node, run_id=self._run.run_id, message_object_id=identifier
            )
            self._ask(self._runtime.ConfirmMessageReceived, confirmed)
            reply = inflate_object_from_contents(identifier, objects)
        assert isinstance(reply, Message)
        assign_id(reply, identifier)
        return reply

    def _never_came(self, one: "_Coming") -> Message:
        with internals("the form of a message"):
            from flwr.app import Metadata
            from flwr.app.message import make_message

            told = one.head.metadata
            metadata = Metadata(
                run_id=self._run.run_id,
                message_id="",
                src_node_id=told.src_node_id,
                dst_node_id=COORDINATOR_NODE,
                message_type=told.message_type,
                group_id="",
                ttl=0,
                reply_to_message_id=told.reply_to_message_id,
                created_at=told.created_at,
            )
            said = f"its upload did not end within {self._upload_s:g} s"
            return make_message(metadata, error=Error(int(ErrorKind.EXPIRED), said))

    def _ask(self, call: Callable[[Any], Answer], request: Any) -> Answer:
        end = self._monotonic() + _PATIENCE_S
        while True:
            try:
                return call(request)
            except httpx.HTTPStatusError as error:
                if error.response.status_code < httpx.codes.INTERNAL_SERVER_ERROR or self._monotonic() > end:
                    raise _lost(f"it answers {error.response.status_code}") from error
            except httpx.TransportError as error:
                if self._monotonic() > end:
                    raise _lost(f"{type(error).__name__}: {error}") from error
            time.sleep(_AGAIN_S)


class _IncompleteError(Exception):
    """A part of a reply is not there yet."""


class _Coming:
    """A reply that was announced, and until when it is waited for."""

    def __init__(self, head: Any, tree: Any, until: float, fetched: "Future[Message]") -> None:
        self.head, self.tree, self.until, self.fetched = head, tree, until, fetched


@contextmanager
def driven_run(address: str, root_certificates: bytes, secret: bytes, app: Path) -> Iterator[tuple[DrivenGrid, int]]:
    """Start a run at a SuperLink and conduct it in the block, as the coordinator of whom messages are.

    Assumption: one run at a time is started by whoever knows the secret; a task that an earlier one left unclaimed is
    given back as failed.

    Args:
        address: ``host:port`` of the SuperLink.
        root_certificates: PEM; the only authority that its certificate is checked against.
        secret: what the SuperLink was started with.
        app: folder of the app bundle that is submitted; no node has to fetch it.

    Yields:
        The grid, and Flower's number of the run.

    Raises:
        RunFailedError: the SuperLink does not answer, or refuses.
    """
    try:
        with Control(address, root_certificates) as control:
            number = control.start(app, {})
        runtime = _claimed(address, root_certificates, secret, number)
    except (ConnectionError, httpx.HTTPError) as error:
        raise _lost(str(error)) from error
    try:
        with internals("the input of a task"):
            from flwr.common.serde import run_from_proto
            from flwr.proto.runtime_pb2 import PullTaskInputRequest

            given = runtime.PullTaskInput(PullTaskInputRequest())
            grid = DrivenGrid(runtime, run_from_proto(given.run))
        completed = False
        try:
            with (
                _beating(runtime),
                task_identity(number, node_id=given.context.node_id, task_id=given.task_id),
            ):
                yield grid, number
            completed = True
        finally:
            grid.close()
            with suppress(httpx.HTTPError):  # the run is over either way
                _hand_back(runtime, completed=completed)
    finally:
        runtime.close()


def _claimed(address: str, root_certificates: bytes, secret: bytes, number: int) -> Any:
    """A client of the Runtime API with the token of the run's task."""
    with internals("the claim of a task"):
        from flwr.proto.runtime_pb2 import AcquireTaskRequest, SendTaskHeartbeatRequest
        from flwr.supercore.constant import TaskType
        from flwr.supercore.interceptors import (
            RuntimeTokenHttpInterceptor,
            RuntimeVersionHttpInterceptor,
            SuperExecAuthHttpInterceptor,
        )
        from flwr.supercore.runtime import RuntimeHttpClient

        proof = SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods={_ACQUIRE})
        versions = RuntimeVersionHttpInterceptor(component_name="SuperExec")
        asking = RuntimeHttpClient.from_server_address(address, False, root_certificates, [versions, proof])
        try:
            while True:
                task = asking.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]))
                if not task.token:
                    raise RunFailedError("the SuperLink has no task for this run", where=address)
                told: list[Any] = [
                    RuntimeVersionHttpInterceptor(component_name="flwr-serverapp"),
                    RuntimeTokenHttpInterceptor(token=task.token),
                ]
                runtime = RuntimeHttpClient.from_server_address(address, False, root_certificates, told)
                runtime.SendTaskHeartbeat(SendTaskHeartbeatRequest())
                if task.task.run_id == number:
                    return runtime
                _hand_back(runtime, completed=False)
                runtime.close()
        finally:
            asking.close()


def _hand_back(runtime: Any, *, completed: bool) -> None:
    with internals("the end of a task"):
        from flwr.common.constant import SubStatus
        from flwr.proto.runtime_pb2 import PushTaskOutputRequest

        ended = SubStatus.COMPLETED if completed else SubStatus.FAILED
        runtime.PushTaskOutput(PushTaskOutputRequest(sub_status=ended, details=""))


@contextmanager
def _beating(runtime: Any) -> Iterator[None]:
    """Tell the SuperLink that the task is alive, for the time of a block."""
    from flwr.proto.runtime_pb2 import SendTaskHeartbeatRequest

    stop = Event()

    def beat() -> None:
        while not stop.wait(_BEAT_S):
            with suppress(httpx.HTTPError):  # the run's own calls find out, and say so
                runtime.SendTaskHeartbeat(SendTaskHeartbeatRequest())

    thread = Thread(target=beat, name="task", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _lost(why: str) -> RunFailedError:
    return RunFailedError(
        "the SuperLink does not do as asked any more, or was started anew and does not know this run",
        where=why,
        mend="see `skerry server status`; when it runs, go on with `skerry run --resume RUN`",
    )
