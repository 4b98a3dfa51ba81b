"""Whether the agent may work now: the device's conditions, the owner's pause first among them, and the word to stop."""

import time
from collections.abc import Callable
from pathlib import Path

from skerry.device.agent.bell import Bell
from skerry.device.agent.conditions import Conditions, Lapse, LapseReason
from skerry.device.agent.eligibility import PAUSE_FILE
from skerry.fsio import write_atomic

__all__ = ["Watch", "is_paused", "pause", "resume"]

_LOOK_S = 5.0  # what the machine says changes slowly, and some of it takes a command to ask
_LOOK_AT_WORK_S = 0.5


def pause(home: Path) -> None:
    """Let the device in this folder rest, until :func:`resume`; it holds over restarts."""
    write_atomic(home / PAUSE_FILE, b"paused by the owner\n")


def resume(home: Path) -> None:
    """Let it go on."""
    (home / PAUSE_FILE).unlink(missing_ok=True)


def is_paused(home: Path) -> bool:
    """Whether the owner has paused it."""
    return (home / PAUSE_FILE).exists()


class Watch:
    """Asks the conditions now and then, and looks for a pause each time.

    Args:
        home: of the device.
        conditions: of the device.
        bell: rung to stop the agent.
        monotonic: seconds that never go back.
    """

    def __init__(
        self, home: Path, conditions: Conditions, bell: Bell, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._home = home
        self._conditions = conditions
        self._bell = bell
        self._monotonic = monotonic
        self._found: tuple[Lapse, ...] = ()
        self._looked: float | None = None

    def lapses(self, within_s: float = _LOOK_S) -> tuple[Lapse, ...]:
        """What keeps the device from working, as of so many seconds ago; a pause is seen at once.

        Returns:
            Empty when nothing does.
        """
        now = self._monotonic()
        paused = is_paused(self._home)
        known = any(lapse.reason is LapseReason.PAUSED for lapse in self._found)
        if self._looked is None or now - self._looked >= within_s or paused != known:
            self._looked = now
            self._found = self._conditions.lapses()
        return self._found

    @property
    def ending(self) -> bool:
        """Whether the agent is to stop."""
        return self._bell.rung

    def asked_to_yield(self) -> bool:
        """Whether work is to stop at its next step."""
        return self._bell.rung or bool(self.lapses(_LOOK_AT_WORK_S))
