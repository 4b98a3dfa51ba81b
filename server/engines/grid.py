"""What Flower's ``Grid`` asks for beside messages, the same over every transport of ours."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

__all__ = ["Chore", "RunGrid"]

Chore = Callable[[bytes], bytes]
"""A share of the coordinator's work that another process may do: it makes bytes of bytes, and of nothing
else. What it raises fails the run."""


class RunGrid(Grid):
    """A ``Grid`` of one run; how messages travel is its subclass's matter.

    Args:
        run: Flower's record of the run.
    """

    def __init__(self, run: Any) -> None:
        self._run = run

    @property
    def run(self) -> Any:
        """Flower's record of the run."""
        return self._run

    def set_run(self, run: Any) -> None:
        """Keep the record to be shown as :attr:`run`."""
        self._run = run

    @property
    def hands(self) -> int:
        """Processes that may do chores; 0 where there are none, and whoever has work does it."""
        return 0

    def pull_each(self, message_ids: Iterable[str]) -> Iterator[Message]:
        """The replies of ``pull_messages``, in any order: each when it is there, where this grid hears of some before
        others. To be taken to its end before anything else is asked of the grid.
        """
        return iter(self.pull_messages(message_ids))

    def offer(self, chore: str, part: Callable[[], bytes]) -> Callable[[], bytes]:
        """Have a chore done by one of :attr:`hands` when it has nothing else to do, also while others make replies.

        Args:
            chore: its name.
            part: makes what the chore gets, when a hand is free.

        Returns:
            What waits for the chore's bytes; called when nobody is asked anything. What is offered first is done first.
        """
        raise NotImplementedError

    def ask_nodes(
        self, chore: str, part: Callable[[frozenset[int]], bytes], nodes: Iterable[int]
    ) -> Callable[[], list[bytes]]:
        """Begin a chore that each process does for its own nodes, of which it has kept something.

        Args:
            chore: its name.
            part: given a process's nodes, what that process gets.
            nodes: all of them.

        Returns:
            What waits for the chore's bytes, one for each process; called before anything else is asked of the grid.
        """
        raise NotImplementedError

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Deprecated by Flower in favour of ``Message(...)``, but part of its interface."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def rest(self, seconds: float) -> None:
        """Wait so long between two looks for replies, or less when one may have come."""
        time.sleep(seconds)
