"""When simulated devices answer in a buffered run: by the clock of :mod:`skerry.server.engines.virtual`.

A device's answer depends on its instruction alone, so a simulation may compute it at once and hold it until its time.
Speed, network and interruptions are those of the profile ``phones``; devices are always plugged in.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from skerry.errors import EnvelopeRefusedError
from skerry.records import Reason
from skerry.security.envelope import issued_of
from skerry.server.arrivals import Arrival, Held
from skerry.server.collect import Replies, collect, declines
from skerry.server.engines.virtual.availability import WEEK_S, Availability
from skerry.server.engines.virtual.clock import EventQueue
from skerry.server.engines.virtual.phones import Fleet, Work, draw_fleet
from skerry.server.engines.virtual.profile import PHONES
from skerry.server.federation import Federation
from skerry.server.journal import RoundJournal
from skerry.server.plan import RoundPlan

__all__ = ["VirtualArrivals"]

# Of wall-clock time: whether an answer comes in time is told by the virtual clock alone, however slow the host is.
WALL_DEADLINE_S = 6 * 24 * 3600.0


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
        self._seed = seed
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

    def begin(self, federation: Federation, plan: RoundPlan, journal: RoundJournal) -> None:
        """Have the answers computed, and hold them; nothing is sent to a device that will be interrupted."""
        size = max((asked.size for asked in plan.asked.values()), default=0)
        able = self.draw(tuple(plan.asked), size, plan.number)
        sent = {device: envelope for device, envelope in plan.envelopes.items() if device in able}
        replies = collect(federation, replace(plan, envelopes=sent), journal, deadline_s=WALL_DEADLINE_S)
        self.hold(plan.number, replies, self._refusing(federation, plan, replies))

    def ask_again(self, federation: Federation, plan: RoundPlan) -> None:
        """Nobody has to be: what a device will have answered is computed when it begins."""

    def draw(self, cohort: Sequence[str], size: int, step: int) -> frozenset[str]:
        """Let devices begin now, with an instruction of ``size`` bytes and an answer as long.

        Returns:
            Those who will answer in time; the others are interrupted, or too slow.
        """
        phones = np.array([self._number[name] for name in cohort], np.int64)
        work = Work(bytes_down=size, bytes_up=size, gflop=self._gflop, epochs=self._epochs)
        chance = np.random.default_rng([self._seed, 103, step])  # of this step: a run that goes on draws the same
        tried = self._fleet.attempt(phones, self.now, work, chance)
        limit = self.now + self._timeout_s
        self._due = dict(zip(cohort, np.where(tried.lost, limit, np.minimum(tried.ends, limit)).tolist(), strict=True))
        self._silent = frozenset(
            name for name, out in zip(cohort, (tried.lost | (tried.ends > limit)).tolist(), strict=True) if out
        )
        return frozenset(cohort) - self._silent

    def hold(self, base: int, replies: Replies, refusing: Collection[str] = ()) -> None:
        """Keep what the devices that began will have answered, each until its time.

        Those who refuse (``refusing``) keep their places as long as if they were silent.
        """
        limit = self.now + self._timeout_s
        for device, at in self._due.items():
            envelope = None if device in self._silent else replies.envelopes.get(device)
            reason = None if envelope is not None else replies.dropped.get(device, Reason.NO_REPLY)
            refuses = envelope is not None and device in refusing
            arrival = Arrival(device, base, envelope, _made(envelope, replies.arrived.get(device, 0)), reason)
            self._queue.add(limit if refuses else at, replace(arrival, reason=Reason.REFUSED) if refuses else arrival)
        self._due = {}

    def _refusing(self, federation: Federation, plan: RoundPlan, replies: Replies) -> frozenset[str]:
        return frozenset(
            device
            for device, envelope in replies.envelopes.items()
            if device in self._due
            and declines(
                federation,
                plan.number,
                plan.asked[device],
                device,
                envelope,
                now=_made(envelope, replies.arrived[device]),
            )
        )

    def next(self, federation: Federation, journal: RoundJournal, *, wait: bool = True) -> Arrival | None:
        """What comes next; its time is now."""
        del federation, journal, wait  # everything is here
        return self._queue.pop() if self._queue else None

    def held(self) -> list[Held]:
        """What the devices at work will have answered, in order."""
        return [Held(arrival, at) for at, arrival in self._queue.pending()]

    def restore(self, now: float, held: Sequence[Held]) -> None:
        """Go on at this instant."""
        self._queue = EventQueue(now)
        for one in held:
            self._queue.add(one.due, one.arrival)


def _made(envelope: bytes | None, arrived: int) -> int:
    """As of when an answer is opened: the coordinator sees it only when all that were asked with it are computed.

    That it is no old one is told by the instruction that it answers, which was never sent before.
    """
    try:
        return arrived if envelope is None else issued_of(envelope)
    except EnvelopeRefusedError:
        return arrived  # whatever it is, opening it tells
