"""A wait that a signal, or another thread, can cut short."""

import os
import select
from contextlib import suppress
from typing import Self

__all__ = ["Bell"]


class Bell:
    """Rung once, it stays rung. Safe to ring from a signal handler, where a lock could be held already.

    A nudge cuts one wait short and no more.
    """

    def __init__(self) -> None:
        self._ear, self._rope = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._side, self._elbow = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._nudged = False
        self.rung = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self._ear, self._rope, self._side, self._elbow):
            os.close(end)

    def ring(self) -> None:
        """Cut the wait short, and all later ones."""
        if not self.rung:
            self.rung = True
            os.write(self._rope, b"!")

    def nudge(self) -> None:
        """Cut one wait short, this or the next."""
        with suppress(OSError):  # many were given and none was taken yet, or nobody waits any more
            os.write(self._elbow, b"!")

    def nudged(self) -> bool:
        """Whether it was nudged since this was asked last."""
        found, self._nudged = self._nudged, False
        return found

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until it is rung or nudged; whether it was rung."""
        if not self.rung:
            ready, _, _ = select.select([self._ear, self._side], [], [], max(0.0, seconds))
            if self._side in ready:
                os.read(self._side, 4096)
                self._nudged = True
        return self.rung
