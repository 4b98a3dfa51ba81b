"""How far a device's past speaks for it: the Beta reputation system, with forgetting and appeal.

Reference: A. Jøsang and R. Ismail 2002, "The Beta Reputation System" (15th Bled Electronic Commerce Conference).
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from skerry.errors import InputError

__all__ = ["DAY_MS", "Appeal", "Observation", "Reputation", "check_half_life", "fade", "reputation", "trace"]

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Observation:
    """One judged update: accepted, or rejected for what was in it. ``at`` is in milliseconds since the epoch."""

    at: int
    accepted: bool


@dataclass(frozen=True)
class Appeal:
    """An operator took back ``restore`` of what had been held against the device until then (0: nothing, 1: all)."""

    at: int
    restore: float


@dataclass(frozen=True)
class Reputation:
    """Evidence as it counts at one moment: how much was accepted (r), and how much rejected (s).

    >>> Reputation(accepted=5.0, rejected=0.0).score
    0.8571428571428571
    >>> Reputation(accepted=0.0, rejected=0.0).score
    0.5
    """

    accepted: float = 0.0
    rejected: float = 0.0

    @property
    def score(self) -> float:
        """Standing in (0, 1): the mean (r + 1)/(r + s + 2) of Beta(r + 1, s + 1), the posterior of a uniform prior."""
        return (self.accepted + 1) / (self.accepted + self.rejected + 2)


def trace(events: Iterable[Observation | Appeal], half_life_days: float) -> Iterator[tuple[int, Reputation]]:
    """The reputation right after each event, with the event's time; events are put into the order of their times.

    Between events r and s both shrink by 2^(-elapsed / half-life): old evidence fades, whichever way it pointed, and a
    device of which nothing is heard goes back to one half. An observation adds one to r or to s; an appeal
    multiplies s by 1 - restore. Time that runs backwards does not age anything.

    Raises:
        InputError: the half-life is not positive.

    >>> day = 86_400_000
    >>> past = [Observation(0, accepted=False), Appeal(0, 0.5), Observation(30 * day, accepted=True)]
    >>> [round(r.score, 3) for _, r in trace(past, 30.0)]
    [0.333, 0.4, 0.615]
    """
    check_half_life(half_life_days)
    now, one = 0, Reputation()
    for event in sorted(events, key=lambda event: event.at):
        one = _aged(one, event.at - now, half_life_days)
        now = event.at
        if isinstance(event, Appeal):
            one = Reputation(one.accepted, one.rejected * (1 - event.restore))
        elif event.accepted:
            one = Reputation(one.accepted + 1, one.rejected)
        else:
            one = Reputation(one.accepted, one.rejected + 1)
        yield now, one


def fade(elapsed_ms: int, half_life_days: float) -> float:
    """What evidence counts for after that time, 1 when it is new; nothing is newer than new."""
    return math.exp2(-max(0, elapsed_ms) / (half_life_days * DAY_MS))


def check_half_life(days: float) -> None:
    """Refuse a half-life that is none.

    Raises:
        InputError: it is not a positive number.
    """
    if not 0 < days < math.inf:
        raise InputError(
            f"the half-life must be a positive number of days, got {days:g}",
            where="half-life",
            mend="30 is the default; 100000 forgets hardly anything",
        )


def reputation(events: Iterable[Observation | Appeal], now: int, half_life_days: float) -> Reputation:
    """The reputation at ``now`` (milliseconds since the epoch); see :func:`trace`."""
    past = list(trace(events, half_life_days))
    if not past:
        return Reputation()
    last, one = past[-1]
    return _aged(one, now - last, half_life_days)


def _aged(one: Reputation, elapsed_ms: int, half_life_days: float) -> Reputation:
    left = fade(elapsed_ms, half_life_days)
    return Reputation(one.accepted * left, one.rejected * left)
