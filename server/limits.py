"""What one party may ask of a server: requests a second, and memory while they are served."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

__all__ = ["Buckets", "Rate", "Room"]


@dataclass(frozen=True)
class Rate:
    """So many a second in the long run, and ``burst`` at once."""

    per_s: float
    burst: float


class Buckets:
    """A token bucket for each party; what is remembered is bounded, the longest unseen party is forgotten first.

    A forgotten party begins with a full bucket. Parties that a stranger can invent (addresses) must therefore not be
    the only limit on what costs much. Safe to use from several threads.
    """

    def __init__(self, rate: Rate, *, parties: int = 4096, now: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._parties = parties
        self._now = now
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = Lock()

    def take(self, party: str) -> float:
        """Take one token; returns 0, or how many seconds until there is one again (and takes none)."""
        return self._settle(party, 1.0)

    def wait_s(self, party: str) -> float:
        """How many seconds until the party has a token; 0 when it has one. Takes none."""
        return self._settle(party, 0.0)

    def _settle(self, party: str, cost: float) -> float:
        with self._lock:
            now = self._now()
            tokens, since = self._left.pop(party, (self._rate.burst, now))
            tokens = min(self._rate.burst, tokens + (now - since) * self._rate.per_s)
            short = max(0.0, 1.0 - tokens)
            self._left[party] = (tokens if short else tokens - cost, now)
            while len(self._left) > self._parties:
                self._left.popitem(last=False)
        return short / self._rate.per_s


class Room:
    """What may be held at once, such as bytes: ``total`` over all parties, ``each`` by one party.

    Safe to use from several threads. What is remembered is bounded by what is held.
    """

    def __init__(self, total: int, *, each: int) -> None:
        self._free = total
        self._each = each
        self._held: Counter[str] = Counter()
        self._lock = Lock()

    @contextmanager
    def hold(self, size: int, party: str) -> Iterator[bool]:
        """Hold ``size`` for a party during the block; yields whether there was room (holds nothing when not)."""
        with self._lock:
            granted = size <= self._free and self._held[party] + size <= self._each
            self._settle(party, size if granted else 0)
        try:
            yield granted
        finally:
            with self._lock:
                self._settle(party, -size if granted else 0)

    def _settle(self, party: str, size: int) -> None:
        self._free -= size
        self._held[party] += size
        if not self._held[party]:
            del self._held[party]
