"""What participation asks of whoever looks after the device: may it work now, and is a training to stop.

:class:`Unattended` is the answer of a simulation. A resident agent gives another: :mod:`skerry.device.agent.care`.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Care", "Unattended", "Undertaking"]


@dataclass(frozen=True)
class Undertaking:
    """One instruction's training.

    Attributes:
        asked: names the instruction, as its debit does.
        model: digest of the base model.
        until: when nobody waits for its answer any more, ms.
        resumable: whether a descent of it can go on where it stood; else it begins again, by the same coins.
    """

    asked: str
    model: str
    until: int
    resumable: bool


class Care(Protocol):
    """Looks after the device while it takes part.

    Attributes:
        last_call: what is not begun or gone on with now is refused: others wait for it, or it would come too late.
    """

    last_call: bool

    def admit(self, work: Undertaking) -> None:
        """Wait until the device may work.

        Raises:
            RefusedError: it may not before the time is over (``conditions_lapsed``).
            YieldedError: the process is to end first.
        """
        ...

    def training(self, work: Undertaking) -> AbstractContextManager[bytes]:
        """A block that is asked to yield when the device may not work; gives the 32-byte key of its coins.

        Entered again after it yielded, it has the same key, and training goes on where it stood.
        """
        ...

    def finished(self) -> None:
        """The instruction is answered or refused for good, or its training failed: erase what was kept of it."""
        ...

    def expire(self) -> None:
        """Erase what was kept of a training that nobody waits for; called again and again, at work or not."""
        ...


class Unattended:
    """The device may always work: it has no battery and no owner."""

    last_call = False

    def admit(self, work: Undertaking) -> None:
        """At once."""
        del work

    @contextmanager
    def training(self, work: Undertaking) -> Iterator[bytes]:
        """Fresh coins, and nobody asks."""
        del work
        yield os.urandom(32)

    def finished(self) -> None:
        """Nothing was kept."""

    def expire(self) -> None:
        """Nothing was kept."""
