"""A wait that a signal, or another thread, can cut short."""

import os
import select
from typing import Self

__all__ = ["Bell"]


class Bell:
    """Rung once, it stays rung. Safe to ring from a signal handler, where a lock could be held already."""

    def __init__(self) -> None:
        self._ear, self._rope = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.rung = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._ear)
        os.close(self._rope)

    def ring(self) -> None:
        """Cut the wait short, and all later ones."""
        if not self.rung:
            self.rung = True
            os.write(self._rope, b"!")

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until it is rung; whether it was."""
        if not self.rung:
            select.select([self._ear], [], [], max(0.0, seconds))
        return self.rung
