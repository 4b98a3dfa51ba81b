"""Several processes that answer for the devices of the in-process engine, each for its own, as long as a run lasts.

They are forked when the run begins: task, model and whatever else was loaded by then are shared memory until somebody
writes to it. A node belongs to one process, which keeps its state, its ledger and its features; so what a device does
does not depend on how many processes there are.
"""

import functools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from types import MappingProxyType, TracebackType
from typing import Any, Self

from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp

from skerry.canonical import decode, encode
from skerry.error_records import heard, told
from skerry.errors import InputError, RunFailedError, SkerryError
from skerry.forked_pipe import ForkedPipe
from skerry.forking import Forked, end_all, fork_into
from skerry.server.engines.flwr_frames import framed, unframed
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
        self._offered: deque[_Errand] = deque()
        self._errands: dict[ForkedPipe, _Errand] = {}

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
        """Answer until nobody asks any more; what goes wrong outside of a device's app is told to the parent too."""
        try:
            self.answer_until_closed(pipe)
        except BaseException as error:
            said = f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace").decode("utf-8")
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
                pipe.send_bytes(encode({"answered": [reply is not None for reply in written]}))
                send_all(pipe, (reply for reply in written if reply is not None))

    def _do(self, chore: Chore, pipe: ForkedPipe) -> None:
        """Do it, and tell that it is done, or why it is refused."""
        part = pipe.recv_bytes()
        try:
            done = chore(part)
        except SkerryError as error:
            pipe.send_bytes(encode({"refused": told(error)}))
        else:
            pipe.send_bytes(encode({"done": True}))
            pipe.send_bytes(done)

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
        errand = _Errand(chore, part)
        self._offered.append(errand)
        with _ending_told():
            for forked in self._forked:
                self._spare(forked.pipe)
        return functools.partial(self._wait_for, errand)

    def _spare(self, pipe: ForkedPipe) -> None:
        """Give a process the oldest chore that is offered, if it has nothing to do."""
        if self._offered and pipe not in self._asked and pipe not in self._errands:
            errand = self._offered.popleft()
            part = errand.part()
            self._errands[pipe] = errand
            pipe.send_bytes(encode({"chore": errand.chore}))
            pipe.send_bytes(part)

    def _done(self, pipe: ForkedPipe) -> None:
        """Hear what became of a chore."""
        errand = self._errands.pop(pipe)
        _heard(pipe)
        errand.done = pipe.recv_bytes()
        self._spare(pipe)

    def _wait_for(self, errand: "_Errand") -> bytes:
        with _ending_told():
            while errand.done is None:
                assert self._errands, "chores are awaited when all replies are there"
                for ready in _ready(self._errands):
                    self._done(ready)
        done, errand.done = errand.done, b""
        return done

    def _forget_errands(self) -> None:
        """Before somebody is asked: of what was offered and is not awaited any more, nothing is left in the pipes."""
        self._offered.clear()
        while self._errands:
            for ready in _ready(self._errands):
                self._done(ready)

    def ask_nodes(
        self, chore: str, part: Callable[[frozenset[int]], bytes], nodes: Iterable[int]
    ) -> Callable[[], list[bytes]]:
        """See :class:`RunGrid`.

        Raises:
            RunFailedError: a process ended; and where it is waited for, as :meth:`share`.
        """
        places: dict[ForkedPipe, set[int]] = {}
        for node in nodes:
            places.setdefault(self._pipe_of(node), set()).add(node)
        with _ending_told():
            self._forget_errands()
            for pipe, here in places.items():
                pipe.send_bytes(encode({"chore": chore}))
                pipe.send_bytes(part(frozenset(here)))

        def done() -> list[bytes]:
            with _ending_told():
                found = []
                for pipe in places:
                    _heard(pipe)
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
                self._spare(pipe)

        with _ending_told():
            self._forget_errands()
            for pipe in pipes:
                give(pipe, -(-together // _TURNS))  # so few that the last process does not wait for long
            while asked:
                came: list[tuple[int, memoryview | None]] = []
                for ready in _ready([*asked, *self._errands]):
                    if ready in self._errands:
                        self._done(ready)
                        continue
                    answered, indices = _heard(ready)["answered"], asked.pop(ready)
                    written = iter(receive_all(ready, sum(answered)))
                    came += zip(indices, (next(written) if one else None for one in answered), strict=True)
                    give(ready, together)  # before anybody looks at what came
                for index, reply in came:
                    yield index, None if reply is None else unframed(reply)


@dataclass(eq=False)
class _Errand:
    """A chore that is offered, and what it made, once it is done."""

    chore: str
    part: Callable[[], bytes]
    done: bytes | None = None


def _ready(under_way: Iterable[ForkedPipe]) -> Iterator[ForkedPipe]:
    """Those of the pipes that have something to say, of which there is at least one."""
    by_number = {pipe.fileno(): pipe for pipe in under_way}
    for ready in wait(list(by_number)):
        assert isinstance(ready, int)
        yield by_number[ready]


def _heard(pipe: ForkedPipe) -> Any:
    """What a process says of what it was asked."""
    said = decode(pipe.recv_bytes())
    if "failure" in said:
        raise RunFailedError(
            f"a process that answered for devices failed: {said['failure']}",
            mend="its log, on standard error, has the whole story; run the scenario again",
        )
    if "refused" in said:
        raise heard(said["refused"])
    return said


@contextmanager
def _ending_told() -> Iterator[None]:
    """A process that has ended is told so."""
    try:
        yield
    except (EOFError, OSError) as error:
        raise RunFailedError(
            "a process that answered for devices has ended",
            mend="look for a lack of memory in the system's log; `skerry run --resume` goes on with the run, or "
            "says what of it was kept nowhere",
        ) from error


def _sendable(message: Message, reply: Message | None) -> bytes | None:
    """A device's reply as bytes; one that has no bytes costs that device its place, and nobody else."""
    if reply is None:
        return None
    try:
        return framed(reply)
    except Exception as error:  # noqa: BLE001 - what an app puts into a reply may fail in any way
        _LOG.exception("node %d gave a reply that cannot be sent", message.metadata.dst_node_id)
        return framed(failed(message, error))
