"""What Flower's ``Grid`` asks for beside messages, the same over every transport of ours."""

import time
from typing import Any

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

__all__ = ["RunGrid"]


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

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Deprecated by Flower in favour of ``Message(...)``, but part of its interface."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def rest(self, seconds: float) -> None:
        """Wait so long between two looks for replies, or less when one may have come."""
        time.sleep(seconds)
