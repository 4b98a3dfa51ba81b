"""Chores that are offered to forked processes: each is done by the first that has nothing else to do."""

import functools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from skerry.canonical import encode
from skerry.forked_pipe import ForkedPipe
from skerry.server.engines.forked_answers import ending_told, heard_from, ready

__all__ = ["Errands"]


class Errands:
    """The chores, in the order in which they were offered, and who is at one.

    Args:
        busy: whether a process is asked for something else.
    """

    def __init__(self, busy: Callable[[ForkedPipe], bool]) -> None:
        self._busy = busy
        self._offered: deque[_Errand] = deque()
        self._under_way: dict[ForkedPipe, _Errand] = {}

    @property
    def under_way(self) -> Iterable[ForkedPipe]:
        """Pipes of the processes that are at one."""
        return self._under_way.keys()

    def offer(self, pipes: Sequence[ForkedPipe], chore: str, part: Callable[[], bytes]) -> Callable[[], bytes]:
        """Offer one to these processes; see :meth:`RunGrid.offer`."""
        errand = _Errand(chore, part)
        self._offered.append(errand)
        with ending_told():
            for pipe in pipes:
                self.spare(pipe)
        return functools.partial(self._wait_for, errand)

    def spare(self, pipe: ForkedPipe) -> None:
        """Give a process the oldest chore that is offered, if it has nothing to do."""
        if self._offered and not self._busy(pipe) and pipe not in self._under_way:
            errand = self._offered.popleft()
            part = errand.part()
            self._under_way[pipe] = errand
            pipe.send_bytes(encode({"chore": errand.chore}))
            pipe.send_bytes(part)

    def hear(self, pipe: ForkedPipe) -> None:
        """Hear from a process what became of its chore."""
        errand = self._under_way.pop(pipe)
        heard_from(pipe)
        errand.done = pipe.recv_bytes()
        self.spare(pipe)

    def forget(self) -> None:
        """Before somebody is asked: of what was offered and is not awaited any more, nothing is left in the pipes."""
        self._offered.clear()
        while self._under_way:
            for pipe in ready(self._under_way):
                self.hear(pipe)

    def _wait_for(self, errand: "_Errand") -> bytes:
        with ending_told():
            while errand.done is None:
                assert self._under_way, "chores are awaited when all replies are there"
                for pipe in ready(self._under_way):
                    self.hear(pipe)
        done, errand.done = errand.done, b""
        return done


@dataclass(eq=False)
class _Errand:
    """A chore that is offered, and what it made, once it is done."""

    chore: str
    part: Callable[[], bytes]
    done: bytes | None = None
