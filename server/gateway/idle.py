"""What idle devices say and ask again and again, kept from a SuperLink that needs to hear of it but rarely.

A SuperLink takes milliseconds of its one processor for a call, whatever comes of it, so that the mere presence of
thousands of devices is more than it can bear. Here is known of each node

- when the SuperLink has last heard a *sign of life* of it, and until when it needs no other: each that is passed on
  promises the next one later, by as much as it takes until all others have had their turn;
- that it has *no message*: the SuperLink said so, and the coordinator has rung for it no more since.

What is passed on of either comes to :attr:`~IdleLimits.beats_per_s` and :attr:`~IdleLimits.asks_per_s` over all nodes:
the fewer there are, the sooner after its last one is a node's next word passed on again. Up to 450 nodes that is sooner
than any of them comes back from the bell.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from skerry.server.bells import Belfry
from skerry.server.engines.flwr_idle import ALIVE, NOTHING, lasting_longer, nothing_came, was_taken

__all__ = ["PROMISED_S", "Idle", "IdleLimits"]

_BEATS = frozenset({"activate-node", "send-node-heartbeat"})
PROMISED_S = 30.0
"""What an agent promises: another sign of life within so many seconds. The SuperLink waits for it twice as long."""


@dataclass(frozen=True)
class IdleLimits:
    """What of a whole fleet is passed on to the SuperLink where nothing happens.

    Attributes:
        beats_per_s: signs of life.
        asks_per_s: questions for messages by nodes for which nobody rang.
    """

    beats_per_s: float = 30.0
    asks_per_s: float = 20.0


@dataclass(frozen=True)
class _Silence:
    until: float
    stroke: str


class Idle:
    """One for a gateway, on its event loop.

    Args:
        belfry: hears for which nodes there are messages, for nobody else; None: nobody rings, and every question is
            passed on.
        limits: see :class:`IdleLimits`.
        monotonic: clock in seconds.
    """

    def __init__(
        self,
        belfry: Belfry | None,
        limits: IdleLimits | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._belfry = belfry
        self._limits = limits or IdleLimits()
        self._monotonic = monotonic
        self._online: OrderedDict[int, float] = OrderedDict()  # until when each needs no sign of life, oldest first
        self._silent: dict[int, _Silence] = {}
        self._away: set[int] = set()

    @property
    def longer_s(self) -> float:
        """By how much later than it says itself a node's next sign of life may reach the SuperLink."""
        return len(self._online) / self._limits.beats_per_s

    def breathes(self, node: int) -> bool:
        """Whether the SuperLink is to be told that a node which waits here is there.

        Not of one that has said goodbye: what it said before may be late, and would bring it back.
        """
        return node not in self._away and self._monotonic() >= self._online.get(node, 0.0)

    def late(self, node: int) -> bool:
        """Whether half of the time is over, or may be, after which the SuperLink takes a node for offline."""
        due = self._online.get(node)
        return due is None or self._monotonic() >= due + PROMISED_S

    def stroke(self, node: int) -> str:
        """By what the last ring for the node is known, to be asked before the SuperLink is."""
        if self._belfry is None:
            return ""
        self._belfry.changed()
        return self._belfry.last(node)

    def answer(self, call: str, node: int, stroke: str) -> bytes | None:
        """The SuperLink's answer to a call, where it is known; None where it has to be asked."""
        now = self._monotonic()
        if call == "send-node-heartbeat":
            return ALIVE if now < self._online.get(node, 0.0) else None
        if call == "pull-messages":
            silence = self._silent.get(node)
            return NOTHING if silence is not None and now < silence.until and silence.stroke == stroke else None
        return None

    def sent(self, call: str, node: int, body: bytes) -> bytes:
        """What the SuperLink is sent in a call's place."""
        if call == "deactivate-node":
            self._gone(node)
            self._away.add(node)
        return lasting_longer(call, body, self.longer_s)

    def answered(self, call: str, node: int, stroke: str, answer: bytes) -> None:
        """Note what the SuperLink has answered.

        Args:
            call: which.
            node: whose.
            stroke: of :meth:`stroke`, before it was asked.
            answer: to a call that it did not refuse.
        """
        now = self._monotonic()
        if call in _BEATS and was_taken(call, answer):
            self._away.discard(node)
            self._online[node] = now + self.longer_s
            self._online.move_to_end(node)
            self._forget(now)
        elif call in _BEATS:
            self._gone(node)
        elif call == "pull-messages" and self._belfry is not None and nothing_came(answer):
            self._silent[node] = _Silence(now + len(self._online) / self._limits.asks_per_s, stroke)
        elif call == "pull-messages":
            self._silent.pop(node, None)

    def refused(self, node: int) -> None:
        """The SuperLink does not know the node."""
        self._gone(node)
        self._away.discard(node)

    def _gone(self, node: int) -> None:
        self._online.pop(node, None)
        self._silent.pop(node, None)

    def _forget(self, now: float) -> None:
        """Of the nodes that the SuperLink has taken for offline by now."""
        while self._online:
            node, until = next(iter(self._online.items()))
            if now < until + self.longer_s + 2 * PROMISED_S:
                return
            self._gone(node)
