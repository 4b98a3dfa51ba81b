"""Who was asked, who answered and when: rounds with a deadline, or a buffer that fills.

A schedule depends on the fleet, the work and the seed alone, never on what phones send.

*Rounds* (Bonawitz et al. 2019): goal · (1 + over-selection) phones that are ready begin together; the round ends with
the goal-th answer, or at the deadline with those that are there. Answers that come later are thrown away.

*Buffer* (FedBuff; Nguyen et al. 2022, arXiv:2106.06639): up to ``concurrency`` phones work at the same time, each from
the newest vector when it began; with every ``size`` answers the server makes a step. Places that became free are
filled with each step: so who is asked is settled once for each version of the model, as in a run
(docs/asynchronous.md).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from skerry.errors import InputError
from skerry.server.engines.virtual.clock import EventQueue
from skerry.server.engines.virtual.phones import Attempts, Fleet, Work

__all__ = ["Buffer", "Rounds", "Step", "buffered_steps", "policy_steps", "synchronous_steps"]

Phones = npt.NDArray[np.int64]

_LOOK_S = 300.0  # how often a server looks again while too few phones are ready
_LONGEST_WAIT_S = 7 * 24 * 3600.0  # availability repeats every week
_SERVER_S = 2.0  # aggregate, evaluate, sign: the same for both


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """Synchronous rounds.

    Attributes:
        goal: answers that end a round.
        over_selection: share of phones that are asked beyond the goal.
        deadline_s: seconds after which a round ends with the answers that are there.
    """

    goal: int
    over_selection: float = 0.0
    deadline_s: float = 600.0

    def __post_init__(self) -> None:
        if self.goal < 1 or not 0 <= self.over_selection <= 10 or not self.deadline_s > 0:
            raise InputError("rounds need a goal and a deadline, and over-selection from 0 to 10")

    @property
    def asked(self) -> int:
        """Phones asked in a round."""
        return math.ceil(self.goal * (1 + self.over_selection) - 1e-9)


@dataclass(frozen=True, kw_only=True)
class Buffer:
    """Buffered asynchronous aggregation.

    Attributes:
        size: K, answers of a step.
        concurrency: phones that work at the same time, at most.
        timeout_s: seconds after which a silent phone's place is given to another, and its answer does not count.
        max_staleness: steps since an answer's beginning beyond which it does not count.
        separation: steps from one answer of a phone to its next, at least.
    """

    size: int
    concurrency: int
    timeout_s: float = 600.0
    max_staleness: int = 100
    separation: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.concurrency or not self.timeout_s > 0:
            raise InputError("a buffer needs 1 ≤ size ≤ concurrency, and a timeout")
        if self.max_staleness < 0 or self.separation < 1:
            raise InputError("a buffer needs max_staleness ≥ 0 and separation ≥ 1")


@dataclass(frozen=True)
class Step:
    """One step of the server.

    Attributes:
        number: from 1 on.
        began: when the one before it ended, or the first was opened; seconds.
        ended: when the model had moved.
        phones: whose answers it is made of.
        base: for each of them the number of the step whose vector it started from; 0 is the initial one.
        asked: who was asked to begin.
        late: whose answers came and did not count.
        attempts: how those who were asked fared, for energy and bytes.
    """

    number: int
    began: float
    ended: float
    phones: Phones
    base: Phones
    asked: Phones
    late: Phones
    attempts: Attempts

    @property
    def staleness(self) -> Phones:
        """Steps that were made between each answer's beginning and this one."""
        return self.number - 1 - self.base


def policy_steps(fleet: Fleet, work: Work, policy: Rounds | Buffer, *, seed: int, start: float) -> Iterator[Step]:
    """The steps of :func:`synchronous_steps` or of :func:`buffered_steps`, as the policy is."""
    if isinstance(policy, Rounds):
        return synchronous_steps(fleet, work, policy, seed=seed, start=start)
    return buffered_steps(fleet, work, policy, seed=seed, start=start)


def synchronous_steps(fleet: Fleet, work: Work, rounds: Rounds, *, seed: int, start: float) -> Iterator[Step]:
    """Rounds without end.

    Args:
        fleet: who may be asked.
        work: what each does.
        rounds: goal, over-selection, deadline.
        seed: of who is chosen, and how attempts go.
        start: seconds into the week.

    Raises:
        InputError: so many phones are never ready together.
    """
    chance = np.random.default_rng([seed, 101])
    busy = np.zeros(len(fleet))
    now, number = start, 0
    while True:
        number += 1
        began = now
        now, ready = _enough(fleet, busy, now, rounds.asked)
        asked = np.sort(chance.choice(ready, rounds.asked, replace=False))
        attempts = fleet.attempt(asked, now, work, chance)
        busy[asked] = attempts.ends
        answers = np.where(attempts.lost, np.inf, attempts.ends)
        end = min(float(np.partition(answers, rounds.goal - 1)[rounds.goal - 1]), now + rounds.deadline_s)
        in_time = answers <= end
        late = ~in_time & ~attempts.lost
        now = end + _SERVER_S
        base = np.full(int(in_time.sum()), number - 1)
        yield Step(number, began, now, asked[in_time], base, asked, asked[late], attempts)


def buffered_steps(fleet: Fleet, work: Work, buffer: Buffer, *, seed: int, start: float) -> Iterator[Step]:
    """Steps without end; arguments as for :func:`synchronous_steps`.

    Raises:
        InputError: nobody is ready for a week.
    """
    chance = np.random.default_rng([seed, 102])
    queue: EventQueue[tuple[int, int, bool]] = EventQueue(start)  # phone, base, whether there is an answer
    busy, waited = np.zeros(len(fleet)), np.zeros(len(fleet), np.bool_)
    entered = np.full(len(fleet), -buffer.separation, np.int64)  # the step that a phone's answer went into last
    working, number, began = 0, 0, start
    while True:
        number += 1
        now = max(queue.now, began)  # answers go on coming while the server makes a step
        rested = np.where(~waited & (number - entered >= buffer.separation), busy, np.inf)
        if working == 0:
            now, ready = _enough(fleet, rested, now, 1)
        else:
            ready = np.flatnonzero(fleet.ready(now) & (rested <= now))
        asked = np.sort(chance.choice(ready, min(len(ready), buffer.concurrency - working), replace=False))
        attempts = fleet.attempt(asked, now, work, chance)
        given_up = attempts.lost | (attempts.ends > now + buffer.timeout_s)
        freed = np.where(given_up, now + buffer.timeout_s, attempts.ends)
        busy[asked], waited[asked] = np.maximum(freed, attempts.ends), True
        for phone, at, lost in zip(asked.tolist(), freed.tolist(), given_up.tolist(), strict=True):
            queue.add(at, (phone, number - 1, not lost))
        working += len(asked)
        late = asked[given_up & ~attempts.lost].tolist()
        phones: list[int] = []
        bases: list[int] = []
        while working and len(phones) < buffer.size:
            phone, base, answered = queue.pop()
            working -= 1
            waited[phone] = False
            if answered and number - 1 - base <= buffer.max_staleness:
                phones.append(phone)
                bases.append(base)
                entered[phone] = number
            elif answered:
                late.append(phone)
        ended = max(queue.now, now) + _SERVER_S
        yield Step(number, began, ended, _ids(phones), _ids(bases), asked, _ids(late), attempts)
        began = ended


def _enough(fleet: Fleet, busy: npt.NDArray[np.float64], now: float, wanted: int) -> tuple[float, npt.NDArray[np.intp]]:
    """Wait until so many phones are ready and have nothing else to do: the instant, and who they are."""
    begun = now
    while True:
        ready = np.flatnonzero(fleet.ready(now) & (busy <= now))
        if len(ready) >= wanted:
            return now, ready
        if now - begun > _LONGEST_WAIT_S:
            raise InputError(
                f"{wanted:,} of {len(fleet):,} phones are not ready together once in a week",
                mend="ask fewer phones at a time, or plan for a larger fleet",
            )
        now += _LOOK_S


def _ids(numbers: list[int]) -> Phones:
    return np.array(numbers, np.int64)
