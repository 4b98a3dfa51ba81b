"""Whether the agent may work now: the owner's pause, the device's conditions, and the word to stop."""

import time
from collections.abc import Callable
from pathlib import Path

from skerry.device.agent.bell import Bell
from skerry.device.agent.conditions import Conditions, Lapse, LapseReason
from skerry.fsio import write_atomic

__all__ = ["Watch", "is_paused", "pause", "resume"]

_LOOK_S = 0.5


def pause(folder: Path) -> None:
    """Let the agent of this folder rest, until :func:`resume`; it holds over restarts."""
    write_atomic(_mark(folder), b"paused by the owner\n")


def resume(folder: Path) -> None:
    """Let it go on."""
    _mark(folder).unlink(missing_ok=True)


def is_paused(folder: Path) -> bool:
    """Whether the owner has paused it."""
    return _mark(folder).exists()


class Watch:
    """Looked at between steps of training too, so it looks at the device no more than twice a second.

    Args:
        folder: of the agent.
        conditions: of the device.
        bell: rung to stop the agent.
        monotonic: seconds that never go back.
    """

    def __init__(
        self, folder: Path, conditions: Conditions, bell: Bell, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._conditions = conditions
        self._bell = bell
        self._monotonic = monotonic
        self._found: tuple[Lapse, ...] = ()
        self._looked: float | None = None

    def lapses(self) -> tuple[Lapse, ...]:
        """What keeps the device from working; empty when nothing does."""
        now = self._monotonic()
        if self._looked is None or now - self._looked >= _LOOK_S:
            self._looked = now
            paused = (Lapse(LapseReason.PAUSED, "paused by the owner"),) if is_paused(self._folder) else ()
            self._found = (*paused, *self._conditions.lapses())
        return self._found

    def asked_to_yield(self) -> bool:
        """Whether work is to stop at its next step."""
        return self._bell.rung or bool(self.lapses())


def _mark(folder: Path) -> Path:
    return folder / "paused"
