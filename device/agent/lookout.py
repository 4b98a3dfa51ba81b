"""Looks at the conditions beside a training, in a thread of its own: to look may take a command, to ask takes nothing.

Twice a second, so that a training whose steps end within a second has stopped within two of a lapse.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from skerry.device.agent.conditions import Conditions, Lapse

__all__ = ["INTERVAL_S", "Lookout"]

INTERVAL_S = 0.5


class Lookout:
    """Conditions that are looked at when they are asked for; within :meth:`watching`, ever anew and ahead of that.

    Args:
        conditions: looked at from one thread at a time.
    """

    def __init__(self, conditions: Conditions) -> None:
        self._conditions = conditions
        self._found: tuple[Lapse, ...] = ()
        self._failed: Exception | None = None
        self._watched = False

    def lapses(self) -> tuple[Lapse, ...]:
        """What keeps the device from working.

        Raises:
            Exception: whatever a look raised, also one of the thread: nothing goes on unwatched.
        """
        if self._failed is not None:
            raise self._failed
        if not self._watched:
            self._found = self._conditions.lapses()
        return self._found

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look twice a second until the block is left."""
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(over,), name="conditions", daemon=True)
        self._watched = True
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self._watched, self._failed = False, None

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(INTERVAL_S):
            try:
                self._found = self._conditions.lapses()
            except Exception as error:  # noqa: BLE001 - kept, and raised in the thread that trains, which asks
                self._failed = error
                return
