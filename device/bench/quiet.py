"""The latency of a call while it has the processor to itself, on a machine that is not always quiet.

Calls are timed in short blocks. A block is thrown away and another one taken in its place

- when the process did not run in all of it: wall time beyond its CPU time (another program of this machine);
- when the hypervisor counted stolen time in it (``/proc/stat``);
- when the processor was slow around it: a piece of work that is always the same, done before and after, took longer
  than the least that was lately seen (:mod:`skerry.device.bench.yardstick`).

None of these looks at how long the calls took, so what is kept is not chosen for being quick. Patience is bounded: when
too few blocks are left by then, all of them count, and the result says so.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from skerry.device.bench.machine import cpu_times
from skerry.device.bench.statistics import median_upper
from skerry.device.bench.yardstick import yardstick

__all__ = ["Block", "Pace", "Timed", "Timing", "quiet_latency", "timed_block"]

WANTED = 25
FEWEST = 5
"""Quiet blocks by which a latency is told; with fewer there is no upper bound at 95 %."""
BLOCK_S = 2.5e-3  # below the scheduler's usual slice of 3 ms: some blocks get through between two other programs
PAUSE_S = 0.01  # blocks in a row would all fall into one moment
_BETWEEN_S = 1e-3
_MOST_CALLS = 100
_AWAY_S, _AWAY_SHARE = 50e-6, 0.05
_SLOWER = 1.1
_IN_VAIN_S = 60.0  # neighbours slow the processor for seconds; a limit on its clock or its power lasts
_LOOK_S = 1.0  # two looks that lie farther apart are not a time in which it was looked at


class Timed(Protocol):
    """Calls one after the other, as far as :func:`quiet_latency` looks at them."""

    @property
    def latencies(self) -> Sequence[float]:
        """Of each call, in seconds."""

    @property
    def wall_s(self) -> float:
        """Of all calls."""

    @property
    def cpu_s(self) -> float:
        """That the process used meanwhile."""

    @property
    def yardsticks_s(self) -> tuple[float, float]:
        """The yardstick before the first and after the last call."""


@dataclass(frozen=True)
class Block:
    """Calls in this process; see :class:`Timed`."""

    latencies: tuple[float, ...]
    wall_s: float
    cpu_s: float
    yardsticks_s: tuple[float, float]


@dataclass
class Pace:
    """The least time that the yardstick took; the longer one is in use, the surer it knows a slow moment.

    A processor may become slower for good (heat, its power limit, a smaller share of the host). After a minute of
    looking without a moment nearly as quick as the best one that is forgotten, and the best since then takes its
    place. Time in which nobody looks does not count.
    """

    best_s: float = field(default=inf)
    _since_s: float = field(default=inf, init=False)  # the least since the best was last nearly reached
    _in_vain_s: float = field(default=0.0, init=False)
    _looked: float | None = field(default=None, init=False)

    @classmethod
    def looked_for(cls, seconds: float = 2.0) -> "Pace":
        """After looking for the processor's best moments for so long: slow ones often last for a second."""
        pace, until = cls(), time.monotonic() + seconds
        while time.monotonic() < until:
            pace._look(yardstick(), time.monotonic())
            time.sleep(_BETWEEN_S)
        return pace

    def seen(self, block: Timed, now: float) -> None:
        """Learn from a block that ended ``now``, in seconds of a clock that does not go back."""
        self._look(min(block.yardsticks_s), now)

    def slower(self, block: Timed) -> float:
        """How many times as long as the best the yardstick took around a block."""
        return max(block.yardsticks_s) / self.best_s

    def kept(self, block: Timed) -> bool:
        """Whether the processor was nearly as quick as at its best around a block."""
        return self.slower(block) <= _SLOWER

    def _look(self, took_s: float, now: float) -> None:
        between_s = 0.0 if self._looked is None else now - self._looked
        self._looked = now
        if took_s <= _SLOWER * self.best_s:
            self.best_s, self._since_s, self._in_vain_s = min(self.best_s, took_s), inf, 0.0
            return
        self._since_s = min(self._since_s, took_s)
        self._in_vain_s += min(max(between_s, 0.0), _LOOK_S)
        if self._in_vain_s >= _IN_VAIN_S:
            self.best_s, self._since_s, self._in_vain_s = self._since_s, inf, 0.0


@dataclass(frozen=True)
class Timing:
    """Latency of one call.

    Attributes:
        median_ms: median of the calls of all blocks that count.
        upper_ms: upper end of the one-sided 95 % interval of the median, from the blocks' medians; assumes that blocks
            are independent.
        least_ms: the least of the blocks' medians: what it takes at least, however busy the machine was.
        blocks: that count.
        discarded: blocks that were thrown away.
        quiet: the blocks that count were undisturbed; otherwise there were too few such, and all count.
        slower: how many times as long as at its best the processor took at the quickest of the uninterrupted blocks;
            above 1.1 it was slower throughout than it had been before.
        all_ms: median of the calls of all blocks, disturbed or not; None for what an older skerry left.
    """

    median_ms: float
    upper_ms: float
    least_ms: float
    blocks: int
    discarded: int
    quiet: bool
    slower: float = 1.0
    all_ms: float | None = None

    @property
    def doubt(self) -> str:
        """Why every block counts, in words; empty where those that count were undisturbed."""
        if self.quiet:
            return ""
        if self.slower > _SLOWER:
            return f"the processor was {self.slower:.2g} times slower throughout than at the beginning"
        return "the machine was never quiet"


def quiet_latency(
    take: Callable[[int], Timed],
    pace: Pace,
    *,
    patience_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    stolen: Callable[[], float] = lambda: cpu_times().stolen_s,
) -> Timing:
    """Time calls until enough blocks were undisturbed.

    Args:
        take: makes so many calls, in one thread.
        pace: what is known of the yardstick; learns.
        patience_s: seconds after which no more blocks are taken.
        clock: in seconds.
        sleep: waits so many seconds.
        stolen: seconds that the hypervisor has taken from this machine until now.
    """
    first = take(3)
    pace.seen(first, clock())
    calls = max(1, min(_MOST_CALLS, round(BLOCK_S / statistics.median(first.latencies))))
    begun = clock()
    taken: list[Timed] = []
    uninterrupted: list[Timed] = []
    while True:
        before = stolen()
        block = take(calls)
        taken.append(block)
        pace.seen(block, clock())
        away_s = block.wall_s - block.cpu_s
        if stolen() <= before and away_s <= _AWAY_S + _AWAY_SHARE * block.wall_s:
            uninterrupted.append(block)
        quiet = [one for one in uninterrupted if pace.kept(one)]  # an earlier block may turn out to have been slow
        if len(quiet) >= WANTED or clock() - begun >= patience_s:
            break
        sleep(PAUSE_S)
    enough = len(quiet) >= FEWEST
    count = quiet if enough else taken
    median_s = statistics.median(s for block in count for s in block.latencies)
    medians = [statistics.median(block.latencies) for block in count]
    return Timing(
        median_ms=1e3 * median_s,
        upper_ms=1e3 * max(median_s, median_upper(medians)),
        least_ms=1e3 * min(medians),
        blocks=len(count),
        discarded=len(taken) - len(count),
        quiet=enough,
        slower=max(1.0, min((pace.slower(block) for block in uninterrupted), default=1.0)),
        all_ms=1e3 * statistics.median(s for block in taken for s in block.latencies),
    )


def timed_block(call: Callable[[], object], count: int) -> Block:
    """So many calls in this process."""
    call()  # what ran before has used the caches
    before = yardstick()
    latencies = []
    cpu, start = time.process_time(), time.perf_counter()
    for _ in range(count):
        begun = time.perf_counter()
        call()
        latencies.append(time.perf_counter() - begun)
    wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    return Block(tuple(latencies), wall_s, cpu_s, (before, yardstick()))
