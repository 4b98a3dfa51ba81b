"""How long a round waits: as long as most devices of the classes that it asks have needed before."""

import math
from collections import defaultdict, deque
from collections.abc import Iterable

import numpy as np

__all__ = ["Needed"]

_QUANTILE = 0.9
_FEWEST = 10  # times of a class, before which nothing is concluded from them
_KEPT = 200  # of a class, the newest: devices change


class Needed:
    """Seconds from a round's beginning to each answer, by class of device; in memory, so a restart learns anew.

    An answer that came after its round counts with the time that it took, and silence with the longest: who is given
    up is not forgotten, or each round would wait less than the one before.

    Args:
        least_s: a round is never shorter; None: it is always ``most_s``.
        most_s: nor longer.
    """

    def __init__(self, least_s: float | None, most_s: float) -> None:
        self._least_s = least_s
        self._most_s = most_s
        self._seconds: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_KEPT))

    def note(self, device_class: str, seconds: float = math.inf) -> None:
        """Count what one device needed; infinite: it was silent until the deadline."""
        self._seconds[device_class].append(min(max(seconds, 0.0), self._most_s))

    def deadline_s(self, classes: Iterable[str]) -> float:
        """The 90th percentile of the slowest of these classes, within the bounds; the longest where one is new."""
        if self._least_s is None:
            return self._most_s
        slowest = self._least_s
        for device_class in classes:
            seconds = self._seconds.get(device_class, ())
            if len(seconds) < _FEWEST:
                return self._most_s
            slowest = max(slowest, float(np.quantile(seconds, _QUANTILE, method="higher")))
        return min(slowest, self._most_s)
