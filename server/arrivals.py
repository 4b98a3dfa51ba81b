"""When simulated devices answer in a buffered run: by the clock of :mod:`skerry.server.engines.virtual`.

A device's answer depends on its instruction alone, so a simulation may compute it at once and hold it until its time.
Speed, network and interruptions are those of the profile ``phones``; devices are always plugged in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from skerry.records import Reason
from skerry.server.collect import Replies
from skerry.server.engines.virtual.availability import WEEK_S, Availability
from skerry.server.engines.virtual.clock import EventQueue
from skerry.server.engines.virtual.phones import Fleet, Work, draw_fleet
from skerry.server.engines.virtual.profile import PHONES

__all__ = ["Arrival", "VirtualArrivals"]


@dataclass(frozen=True)
class Arrival:
    """What came of an instruction.

    Attributes:
        device: who was asked.
        base: in which round.
        envelope: the sealed answer; None when there is none.
        arrived: when it reached this process (ms since the epoch).
        reason: why there is no answer.
    """

    device: str
    base: int
    envelope: bytes | None
    arrived: int
    reason: Reason | None


class VirtualArrivals:
    """Devices at work, and the virtual instants at which they will have answered.

    Args:
        examples: how many each device has; devices are those.
        gflop: forward and backward pass of one example, 10^9 operations.
        epochs: passes in a round.
        timeout_s: virtual seconds after which a silent device is waited for no more.
        seed: of speeds, networks and interruptions.
    """

    def __init__(self, examples: Mapping[str, int], *, gflop: float, epochs: int, timeout_s: float, seed: int) -> None:
        self._number = {name: number for number, name in enumerate(sorted(examples))}
        drawn = draw_fleet(PHONES, len(examples), seed=seed)
        counts = np.array([examples[name] for name in self._number], np.int64)
        plugged = Availability(np.zeros((len(examples), 1)), np.full((len(examples), 1), 2 * WEEK_S))
        self._fleet: Fleet = replace(
            drawn.holding(counts), availability=plugged, departs=np.full(len(examples), np.inf)
        )
        self._gflop, self._epochs, self._timeout_s = gflop, epochs, timeout_s
        self._chance = np.random.default_rng([seed, 103])
        self._queue: EventQueue[Arrival] = EventQueue()
        self._due: dict[str, float] = {}
        self._silent: frozenset[str] = frozenset()

    @property
    def now(self) -> float:
        """Virtual seconds since the run began."""
        return self._queue.now

    @property
    def working(self) -> int:
        """Devices that were asked and are waited for."""
        return len(self._queue)

    def begin(self, cohort: Sequence[str], size: int) -> frozenset[str]:
        """Let devices begin now, with an instruction of ``size`` bytes and an answer as long.

        Returns:
            Those who will answer in time; the others are interrupted, or too slow.
        """
        phones = np.array([self._number[name] for name in cohort], np.int64)
        work = Work(bytes_down=size, bytes_up=size, gflop=self._gflop, epochs=self._epochs)
        tried = self._fleet.attempt(phones, self.now, work, self._chance)
        limit = self.now + self._timeout_s
        self._due = dict(zip(cohort, np.where(tried.lost, limit, np.minimum(tried.ends, limit)).tolist(), strict=True))
        self._silent = frozenset(
            name for name, out in zip(cohort, (tried.lost | (tried.ends > limit)).tolist(), strict=True) if out
        )
        return frozenset(cohort) - self._silent

    def hold(self, base: int, replies: Replies) -> None:
        """Keep what the devices that began will have answered, each until its time."""
        for device, at in self._due.items():
            envelope = None if device in self._silent else replies.envelopes.get(device)
            reason = None if envelope is not None else replies.dropped.get(device, Reason.NO_REPLY)
            arrived = replies.arrived.get(device, 0)
            self._queue.add(at, Arrival(device, base, envelope, arrived, reason))
        self._due = {}

    def next(self) -> Arrival:
        """What comes next; its time is now.

        Raises:
            IndexError: nobody is waited for.
        """
        return self._queue.pop()
