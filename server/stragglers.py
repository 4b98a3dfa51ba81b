"""Answers that come after their round: looked at, counted, and never used.

Who was asked has spent, answer or not: that stands in the ledger since the round was opened, once. A late answer
changes nothing of it, and its update goes into no model.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from skerry.clock import Clock
from skerry.errors import EnvelopeRefusedError
from skerry.security.envelope import Kind
from skerry.server.federation import Federation
from skerry.server.journal import Asked
from skerry.server.mailbox import Mailbox
from skerry.server.opening import open_answer

__all__ = ["Late", "Stragglers"]


@dataclass(frozen=True)
class Late:
    """An authentic update that came ``seconds`` after its round had begun, when that was over."""

    device: str
    round: int
    seconds: float


@dataclass(frozen=True)
class _Over:
    number: int
    asked: Mapping[str, Asked]
    mailbox: Mailbox
    began: int


class Stragglers:
    """The rounds that are over and still awaited; none for longer than their messages live.

    Args:
        clock: ms since the epoch.
        lasting_s: how long after a round's beginning its answers may come.
    """

    def __init__(self, clock: Clock, lasting_s: float) -> None:
        self._clock = clock
        self._lasting_ms = int(1000 * lasting_s)
        self._over: list[_Over] = []

    def leave(self, number: int, asked: Mapping[str, Asked], mailbox: Mailbox, began: int) -> None:
        """A round is over, which began then (ms since the epoch)."""
        if mailbox:
            self._over.append(_Over(number, asked, mailbox, began))

    def come(self, federation: Federation) -> list[Late]:
        """The updates that have come since, each verified as one that is in time."""
        now = self._clock()
        found: list[Late] = []
        for over in self._over:
            for device, record in over.mailbox.receive():
                envelope = record.get("envelope") if record is not None else None
                if not isinstance(envelope, bytes):
                    continue
                try:
                    opened = open_answer(federation, over.number, over.asked[device], device, envelope, now=now)
                except EnvelopeRefusedError:
                    continue  # somebody else's words, or too old: nothing is known of the device
                if opened.header.kind is Kind.UPDATE:
                    found.append(Late(device, over.number, (now - over.began) / 1000))
        self._over = [over for over in self._over if over.mailbox and now - over.began < self._lasting_ms]
        return found
