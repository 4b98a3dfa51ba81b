"""How often the agent asks: quickly after it had work, slowly when nothing happens, and ever more rarely in trouble."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

__all__ = ["Backoff", "Pace"]

_JITTER = 0.2
_GROWTH = 1.5


@dataclass(frozen=True)
class Pace:
    """Seconds between two questions for work, by how long ago there was some; each with ±20 % of chance. One that would
    hear of work asks but rarely.

    The spread keeps devices that were started together from asking together.
    """

    fast: float = 0.1
    slow: float = 0.5
    idle: float = 3.0
    hears: float = 120.0
    hot: float = 10.0
    warm: float = 120.0

    def wait(self, since: float, random: Random, *, hears: bool = False) -> float:
        """Seconds to the next question.

        Args:
            since: seconds since there was work.
            random: gives the jitter; no secret.
            hears: whether a message would be heard of.
        """
        wait = self.hears if hears else self.fast if since < self.hot else self.slow if since < self.warm else self.idle
        return wait * random.uniform(1 - _JITTER, 1 + _JITTER)


class Backoff:
    """Waits after failures that follow one another: half as long again up to a longest, each anywhere in its upper
    half. So what comes back is found again after a quarter of the time that it was away, on average.

    Args:
        first: seconds.
        longest: seconds.
        uniform: draws from a range; no secret.
    """

    def __init__(self, first: float, longest: float, uniform: Callable[[float, float], float]) -> None:
        self._first = first
        self._longest = longest
        self._uniform = uniform
        self._next = first

    def failed(self, at_least: float = 0.0) -> float:
        """Seconds to wait after one more failure; never less than what the server asked for."""
        wait = self._uniform(self._next / 2, self._next)
        self._next = min(_GROWTH * self._next, self._longest)
        return max(wait, at_least)

    def worked(self) -> None:
        """It works again."""
        self._next = self._first
