"""Several processes that answer for the devices of the in-process engine, each for its own, as long as a run lasts.

They are forked when the run begins: task, model and whatever else was loaded by then are shared memory until somebody
writes to it. A node belongs to one process, which keeps its state, its ledger and its features; so what a device does
does not depend on how many processes there are.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from types import MappingProxyType, TracebackType
from typing import Self

from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp

from skerry.canonical import decode, encode
from skerry.error_records import told
from skerry.errors import InputError, SkerryError
from skerry.forked_pipe import ForkedPipe
from skerry.forking import Forked, end_all, fork_into
from skerry.server.engines.errands import Errands
from skerry.server.engines.flwr_frames import framed, unframed
from skerry.server.engines.forked_answers import ending_told, heard_from, ready
from skerry.server.engines.grid import Chore
from skerry.server.engines.inprocess_grid import InProcessGrid, failed
from skerry.server.engines.pipe_blocks import receive_all, send_all

__all__ = ["ForkedGrid"]

_LOG = logging.getLogger(__name__)
_TOGETHER = 128  # messages that are handed over at once: after each time a process waits for the disk
_TURNS = 4  # at least so many times is each process given something, so that all end at about the same time


class ForkedGrid(InProcessGrid):
    """An :class:`InProcessGrid` whose nodes live in forked processes; a block that is left has ended them.

    Guarantees those of its parent. Messages and replies go through pipes of this process alone. The processes end with
    this one, even by SIGKILL: on Linux at once, elsewhere when they have answered what they were at.

    Args:
        client: the app that answers.
        nodes: one node configuration per node.
        processes: that answer.
        settle: see :class:`InProcessGrid`; called in each process, for some messages at a time.
        holding: entered by each process for as long as it answers.
        chores: by name, what the processes do for the coordinator while no device of theirs is asked.
    """

    def __init__(
        self,
        client: ClientApp,
        nodes: Sequence[Mapping[str, str | int]],
        *,
        processes: int,
        settle: Callable[[], None] = lambda: None,
        holding: Callable[[], AbstractContextManager[None]] = nullcontext,
        chores: Mapping[str, Chore] = MappingProxyType({}),
    ) -> None:
        if processes < 1:
            raise InputError(f"at least one process is needed, got {processes}")
        super().__init__(client, nodes, settle=settle)
        self._holding = holding
        self._chores = chores
        self._processes = min(processes, max(1, len(nodes)))
        self._forked: list[Forked] = []
        self._asked: dict[ForkedPipe, list[int]] = {}
        self._errands = Errands(lambda pipe: pipe in self._asked)
        self._saying = False  # in a process of devices: of an answer some has left, and some has not

    def __enter__(self) -> Self:
        try:
            for _ in range(self._processes):
                fork_into(self._forked, self._serve)
        except BaseException:
            end_all(self._forked, kill=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end_all(self._forked, kill=kind is not None)

    def _serve(self, pipe: ForkedPipe) -> None:
        """Answer until nobody asks any more; what goes wrong outside of a device's app is told to the parent too.

        Unless it happens within an answer: that one never becomes whole, and the parent hears that the process has
        ended.
        """
        try:
            self.answer_until_closed(pipe)
        except BaseException as error:
            said = f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace").decode("utf-8")
            if not self._saying:  # else it would be taken for what is still to come
                with suppress(OSError):
                    pipe.send_bytes(encode({"failure": said}))
            raise

    def answer_until_closed(self, pipe: ForkedPipe) -> None:
        """In a process of its own: make the replies that are asked for through the pipe, until it is closed."""
        with self._holding():
            while True:
                try:
                    asked = decode(pipe.recv_bytes())
                except EOFError:
                    return
                if "chore" in asked:
                    self._do(self._chores[asked["chore"]], pipe)
                    continue
                due = [unframed(one) for one in receive_all(pipe, asked["messages"])]
                replies = self.settled(due, [self.answer(message, asked["deadline"]) for message in due])
                written = [_sendable(*pair) for pair in zip(due, replies, strict=True)]
                self._saying = True
                pipe.send_bytes(encode({"answered": [reply is not None for reply in written]}))
                send_all(pipe, (reply for reply in written if reply is not None))
                self._saying = False

    def _do(self, chore: Chore, pipe: ForkedPipe) -> None:
        """Do it, and tell that it is done, or why it is refused."""
        part = pipe.recv_bytes()
        try:
            done = chore(part)
        except SkerryError as error:
            pipe.send_bytes(encode({"refused": told(error)}))
        else:
            self._saying = True
            pipe.send_bytes(encode({"done": True}))
            pipe.send_bytes(done)
            self._saying = False

    def _device_copy(self, records: RecordDict) -> RecordDict:
        """Through the pipe goes a copy."""
        return records

    @property
    def hands(self) -> int:
        """The processes; they do chores only while no device of theirs is asked."""
        return len(self._forked)

    def offer(self, chore: str, part: Callable[[], bytes]) -> Callable[[], bytes]:
        """See :class:`RunGrid`.

        Raises:
            RunFailedError: a process ended, here or where it is waited for; or a chore failed with a fault of the
                program's own.
            SkerryError: what a chore raised of them.
        """
        return self._errands.offer([forked.pipe for forked in self._forked], chore, part)

    def ask_nodes(
        self, chore: str, part: Callable[[frozenset[int]], bytes], nodes: Iterable[int]
    ) -> Callable[[], list[bytes]]:
        """See :class:`RunGrid`.

        Raises:
            RunFailedError: a process ended; and where it is waited for, as :meth:`offer`.
        """
        places: dict[ForkedPipe, set[int]] = {}
        for node in nodes:
            places.setdefault(self._pipe_of(node), set()).add(node)
        with ending_told():
            self._errands.forget()
            for pipe, here in places.items():
                pipe.send_bytes(encode({"chore": chore}))
                pipe.send_bytes(part(frozenset(here)))

        def done() -> list[bytes]:
            with ending_told():
                found = []
                for pipe in places:
                    heard_from(pipe)
                    found.append(pipe.recv_bytes())
                return found

        return done

    def _pipe_of(self, node: int) -> ForkedPipe:
        return self._forked[node % self._processes].pipe

    def pull_each(self, message_ids: Iterable[str]) -> Iterator[Message]:
        """See :class:`RunGrid`: the processes go on while their first replies are looked at.

        Raises:
            RunFailedError: a process ended, or failed outside of any device's app.
        """
        return (reply for _, reply in self._answers(self._due(message_ids), None) if reply is not None)

    def _answer_all(self, due: Sequence[Message], deadline: float | None) -> list[Message | None]:
        """See :class:`InProcessGrid`.

        Raises:
            RunFailedError: a process ended, or failed outside of any device's app.
        """
        replies: list[Message | None] = [None] * len(due)
        for index, reply in self._answers(due, deadline):
            replies[index] = reply
        return replies

    def _answers(self, due: Sequence[Message], deadline: float | None) -> Iterator[tuple[int, Message | None]]:
        """Hand out some messages at a time to each process, those of its own nodes; replies as they come, each with
        its message's place.
        """
        pipes = [forked.pipe for forked in self._forked]
        queues: dict[ForkedPipe, list[int]] = {pipe: [] for pipe in pipes}
        for index, message in enumerate(due):
            queues[self._pipe_of(message.metadata.dst_node_id)].append(index)
        together = max(1, min(_TOGETHER, len(due) // (_TURNS * self._processes)))
        asked = self._asked = {}

        def give(pipe: ForkedPipe, count: int) -> None:
            indices, queues[pipe] = queues[pipe][:count], queues[pipe][count:]
            if indices and (deadline is None or self._monotonic() < deadline):
                asked[pipe] = indices
                pipe.send_bytes(encode({"messages": len(indices), "deadline": deadline}))
                send_all(pipe, (framed(due[index]) for index in indices))
            else:
                self._errands.spare(pipe)

        with ending_told():
            self._errands.forget()
            for pipe in pipes:
                give(pipe, -(-together // _TURNS))  # so few that the last process does not wait for long
            while asked:
                came: list[tuple[int, memoryview | None]] = []
                for pipe in ready([*asked, *self._errands.under_way]):
                    if pipe in self._errands.under_way:
                        self._errands.hear(pipe)
                        continue
                    answered, indices = heard_from(pipe)["answered"], asked.pop(pipe)
                    written = iter(receive_all(pipe, sum(answered)))
                    came += zip(indices, (next(written) if one else None for one in answered), strict=True)
                    give(pipe, together)  # before anybody looks at what came
                for index, reply in came:
                    yield index, None if reply is None else unframed(reply)


def _sendable(message: Message, reply: Message | None) -> bytes | None:
    """A device's reply as bytes; one that has no bytes costs that device its place, and nobody else."""
    if reply is None:
        return None
    try:
        return framed(reply)
    except Exception as error:  # noqa: BLE001 - what an app puts into a reply may fail in any way
        _LOG.exception("node %d gave a reply that cannot be sent", message.metadata.dst_node_id)
        return framed(failed(message, error))
