"""When each phone may work: windows of a week that repeats itself."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from skerry.server.engines.virtual.profile import FleetProfile

__all__ = ["DAY_S", "WEEK_S", "Availability", "draw_availability"]

Float64Array = npt.NDArray[np.float64]

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
WEEK_S = 7 * DAY_S

_DAY_WINDOWS = 4
_NIGHT_HABIT_H, _NIGHT_EACH_H = 1.3, 0.7  # how much phones, and nights of one phone, differ in their hour
_NIGHT_LENGTH_SPREAD_H = 1.2
_SHORTEST_H = 0.1


@dataclass(frozen=True)
class Availability:
    """Windows in which each phone is idle, charging and on an unmetered network.

    Attributes:
        starts: ``(n, w)`` seconds into the week, in [0, week); infinite where there is no window.
        ends: ``(n, w)`` seconds, after the starts; a window may reach into the next week. Less than any instant where
            there is none.
    """

    starts: Float64Array
    ends: Float64Array

    def until(self, at: float, phones: npt.NDArray[np.int64] | slice = slice(None)) -> Float64Array:
        """``(n,)``, or of some phones: the instant until which each may work from ``at`` on; ``at`` if it may not."""
        here = at % WEEK_S
        starts, ends = self.starts[phones], self.ends[phones]
        left = np.where(starts <= here, ends - here, 0.0).max(axis=1)
        before = (ends - (here + WEEK_S)).max(axis=1)  # began in the last days of the week before
        found: Float64Array = at + np.maximum(np.maximum(left, before), 0.0)
        return found


def draw_availability(profile: FleetProfile, count: int, generator: np.random.Generator) -> Availability:
    """Windows of ``count`` phones: a habit for each phone, and each day's own deviation from it.

    Args:
        profile: hours and lengths.
        count: n.
        generator: all randomness comes from it.
    """
    days = np.arange(7) * DAY_S
    zone = generator.normal(0.0, profile.time_zones_h, (count, 1))
    habit = generator.normal(profile.night_hour, _NIGHT_HABIT_H, (count, 1))
    share = profile.night_share
    regular = generator.beta(4 * share, 4 * (1 - share), (count, 1)) if 0 < share < 1 else np.full((count, 1), share)
    night_start = (habit + zone + generator.normal(0.0, _NIGHT_EACH_H, (count, 7))) * HOUR_S + days
    night_length = generator.normal(profile.night_length_h, _NIGHT_LENGTH_SPREAD_H, (count, 7))
    night = generator.random((count, 7)) < regular
    day_start = (generator.uniform(8, 20, (count, 7, _DAY_WINDOWS)) + zone[..., None]) * HOUR_S + days[:, None]
    day_length = generator.exponential(profile.day_length_h, (count, 7, _DAY_WINDOWS))
    day = generator.random((count, 7, _DAY_WINDOWS)) < profile.day_charges / _DAY_WINDOWS
    starts = np.concatenate([night_start, day_start.reshape(count, -1)], axis=1) % WEEK_S
    lengths = np.concatenate([night_length, day_length.reshape(count, -1)], axis=1).clip(min=_SHORTEST_H) * HOUR_S
    there = np.concatenate([night, day.reshape(count, -1)], axis=1)
    ends = np.where(there, starts + lengths, -np.inf)
    starts = np.where(there, starts, np.inf)
    order, most = np.argsort(starts, axis=1), int(there.sum(axis=1).max(initial=1))
    rows = np.arange(count)[:, None], order[:, :most]
    return Availability(starts[rows], ends[rows])
