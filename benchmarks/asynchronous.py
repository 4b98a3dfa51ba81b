"""Buffered asynchronous runs against rounds, in the virtual time of ten thousand phones with stragglers.

Fleet, work and data are the same for all. As in FedBuff (Nguyen et al. 2022, section 5) all sides are tuned: on one
seed that is not measured, by the same criterion, over the same learning rates of phones and server, the same momenta
and averages of the server, and over what else each has to choose: the buffer its size, rounds how many of the phones
asked they wait for (what a deadline and over-selection come to). What is claimed is measured on other seeds.

Rounds are quickest when they throw much away, and then more phones are at work than were asked at a time: stragglers of
one round beside the next one's. Against those the buffer has as many phones at work on average. Against rounds with
30 % over-selection both ask as many at a time, as in the paper.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
from _harness import Claim, NotMeasuredError, Peer, Samples, main, progress, versions

from skerry.server.engines.virtual import (
    PHONES,
    Buffer,
    Fleet,
    Learning,
    PhoneData,
    PolicyFigures,
    Rounds,
    Step,
    Work,
    draw_fleet,
    fashion_phones,
    figures_of,
    learn,
    policy_steps,
)
from skerry.strategies import FedAvgM, Mean
from skerry.strategies.averaging import Averaged
from skerry.strategies.buffered import BufferedRule

PHONES_IN_FLEET = 10_000
TARGET = 0.80
EVERY = 0.8  # of the phones asked at a time: answers from one evaluation to the next, for everybody
LONGEST_H = 24.0
EVENING_S = 20 * 3600.0
EXAMPLES = 100  # median of a phone; in proportion to the pictures that it has
WORK = Work(bytes_down=14_000_000, bytes_up=14_000_000, gflop=1.8)  # a whole MobileNetV2 at 224 pixels
TUNED_ON = 1000
SEEDS = (0, 1, 2, 3, 4)
LOOK_STEPS = 200  # of a schedule, to see how many phones are at work

# Learning rate of the server, its momentum, and the share of the average that it keeps. Rounds bear more of the first
# two than a buffer, whose answers are stale; all gain by an average.
SERVER = (
    (3.0, 0.0, 0.95),
    (2.0, 0.0, 0.95),
    (5.0, 0.0, 0.97),
    (8.0, 0.9, 0.9),
    (12.0, 0.9, 0.9),
    (18.0, 0.9, 0.9),
    (4.0, 0.9, 0.9),
    (2.0, 0.0, 0.0),
    (3.0, 0.0, 0.0),
    (1.0, 0.0, 0.0),
    (4.0, 0.9, 0.0),
    (8.0, 0.9, 0.0),
)
LEARNING = [(rate, *server) for server in SERVER for rate in (0.3, 0.6)]


@dataclass(frozen=True)
class Policy:
    """One way to run the fleet, and how it learns."""

    schedule: Rounds | Buffer
    learning_rate: float
    server_rate: float
    momentum: float
    average: float

    @property
    def asked(self) -> int:
        """Phones at a time."""
        return self.schedule.asked if isinstance(self.schedule, Rounds) else self.schedule.concurrency

    @property
    def answers(self) -> int:
        """Of a step."""
        return self.schedule.goal if isinstance(self.schedule, Rounds) else self.schedule.size

    def steps(self, fleet: Fleet, seed: int) -> Iterator[Step]:
        """Without end, from the evening on."""
        return policy_steps(fleet, WORK, self.schedule, seed=seed, start=EVENING_S)

    def to_json(self) -> dict[str, Any]:
        """As it is told."""
        told = vars(self.schedule) | {name: value for name, value in vars(self).items() if name != "schedule"}
        return {name: round(value, 3) for name, value in told.items()}


@dataclass(frozen=True)
class Reached:
    """Hours until the target, or None; and what the way there came to."""

    hours: float | None
    figures: PolicyFigures


def buffers(asked: int, *sizes: int) -> list[Buffer]:
    """With so many phones at work, at most."""
    return [Buffer(size=size, concurrency=asked, timeout_s=300.0) for size in sizes]


def waiting_for(asked: int, *goals: int) -> list[Rounds]:
    """Rounds that ask so many phones, and wait for some of them."""
    return [Rounds(goal=goal, over_selection=asked / goal - 1, deadline_s=600.0) for goal in goals]


def settings(schedules: Sequence[Rounds | Buffer]) -> list[Policy]:
    return [Policy(schedule, *learning) for schedule, learning in product(schedules, LEARNING)]


@cache
def world(seed: int) -> tuple[Fleet, PhoneData]:
    """The fleet of a seed, and what its phones hold."""
    data = fashion_phones(PHONES_IN_FLEET, seed=seed)
    counts = np.rint(data.counts * (EXAMPLES / np.median(data.counts))).clip(min=1).astype(np.int64)
    return draw_fleet(PHONES, PHONES_IN_FLEET, seed=seed).holding(counts), data


def reach(policy: Policy, fleet: Fleet, data: PhoneData, seed: int, limit_h: float = LONGEST_H) -> Reached:
    """Train until the median of the last three evaluations is at the target: one lucky evaluation is not enough."""
    taken: list[Step] = []

    def kept() -> Iterator[Step]:
        for step in policy.steps(fleet, seed):
            taken.append(step)
            yield step

    # The length of a step is that without momentum.
    optimizer = Averaged(FedAvgM(policy.server_rate * (1 - policy.momentum), policy.momentum), policy.average)
    learning = Learning(rule=BufferedRule(Mean()), optimizer=optimizer, learning_rate=policy.learning_rate)
    last: list[float] = []
    hours = None
    for point in learn(kept(), data, learning, seed=seed, every=max(1, round(EVERY * policy.asked / policy.answers))):
        last = [*last[-2:], point.accuracy]
        if len(last) == 3 and float(np.median(last)) >= TARGET:
            hours = point.seconds / 3600
            break
        if point.seconds > limit_h * 3600:
            break
    return Reached(hours, figures_of("", fleet, taken))


def tuned(name: str, policies: Sequence[Policy]) -> Policy:
    """The setting that is quickest on the tuning seed; others are not tried to their end."""
    limit, best = LONGEST_H, None
    for policy in policies:
        hours = reach(policy, *world(TUNED_ON), TUNED_ON, limit).hours
        found = hours is not None and hours < limit
        progress(f"tuning {name}: {policy.to_json()}: {f'{hours:.2f} h' if found else f'not within {limit:.2f} h'}")
        if hours is not None and found:
            limit, best = hours, policy
    if best is None:
        raise NotMeasuredError(f"no setting of {name} reaches {TARGET:.0%} within {LONGEST_H:g} h")
    return best


def at_work(policy: Policy) -> float:
    """Phones at work on average; no phone has to learn anything for that."""
    fleet, _ = world(TUNED_ON)
    return figures_of("", fleet, islice(policy.steps(fleet, TUNED_ON), LOOK_STEPS)).at_work


def with_as_many_at_work(buffer: Policy, rounds: Policy) -> Policy:
    """The buffer, larger in proportion, so that on average as many phones are at work as in those rounds."""
    schedule = buffer.schedule
    assert isinstance(schedule, Buffer)
    more = at_work(rounds) / at_work(buffer)
    size, concurrency = round(schedule.size * more), round(schedule.concurrency * more)
    return replace(buffer, schedule=replace(schedule, size=size, concurrency=concurrency))


def few(scratch: Path) -> list[Claim]:
    """130 phones are asked at a time."""
    del scratch
    rounds = tuned("rounds", settings(waiting_for(130, 65, 43, 80)))
    hasty = tuned("rounds +30 %", settings(waiting_for(130, 100)))
    patient = tuned("patient rounds", settings([*waiting_for(130, 120), Rounds(goal=130, deadline_s=300.0)]))
    buffer = tuned("buffer", settings(buffers(130, 20, 14, 10, 40)))
    equal = with_as_many_at_work(buffer, rounds)
    pairs = {"time": (equal, rounds), "time_over_selection": (buffer, hasty), "time_patient": (buffer, patient)}
    return _measured(pairs)


def many(scratch: Path) -> list[Claim]:
    """A thousand are, a tenth of the fleet."""
    del scratch
    rounds = tuned("rounds", settings(waiting_for(1000, 700, 600)))
    hasty = tuned("rounds +30 %", settings(waiting_for(1000, 770)))
    buffer = tuned("buffer", settings(buffers(1000, 100, 60, 200)))
    equal = with_as_many_at_work(buffer, rounds)
    return _measured({"time_many": (equal, rounds), "time_many_over_selection": (buffer, hasty)})


def _measured(claims: dict[str, tuple[Policy, Policy]]) -> list[Claim]:
    found: dict[Policy, list[Reached]] = {policy: [] for pair in claims.values() for policy in pair}
    for seed in SEEDS:
        fleet, data = world(seed)
        for policy, some in found.items():
            some.append(reach(policy, fleet, data, seed))
            progress(f"seed {seed}: {policy.to_json()}: {some[-1].hours} h")
    return [_claim(name, *pair, found) for name, pair in claims.items()]


def _claim(identifier: str, mine: Policy, peer: Policy, found: dict[Policy, list[Reached]]) -> Claim:
    pairs = [(a.hours, b.hours) for a, b in zip(found[mine], found[peer], strict=True)]
    ratios = [a / b for a, b in pairs if a is not None and b is not None]
    whole = len(ratios) == len(pairs)
    told = f"rounds of {peer.asked} phones that wait for {peer.answers}"
    return Claim(
        id=identifier,
        text=f"{PHONES_IN_FLEET:,} phones, real training on Fashion-MNIST: virtual time to {TARGET:.0%} with a buffer "
        f"of {mine.answers} and {mine.asked} phones at a time over that in {told}",
        value=Samples(ratios).median if whole else None,
        unit="ratio",
        op="<=",
        bar=0.5,
        peer=Peer(f"{told}, h", Samples([b for _, b in pairs if b is not None]).median if whole else None),
        spread=Samples(ratios).spread if ratios else None,
        detail={"buffer": _told(found[mine], mine), "peer": _told(found[peer], peer)},
    )


def _told(found: list[Reached], policy: Policy) -> dict[str, Any]:
    def median(values: Sequence[float]) -> float:
        return float(f"{Samples(values).median:.3g}")

    old = [next(row for row in one.figures.classes if row.name == "old") for one in found]
    return {
        "setting": policy.to_json(),
        "hours": [None if one.hours is None else round(one.hours, 2) for one in found],
        "at_work": median([one.figures.at_work for one in found]),
        "answers": median([one.figures.answers for one in found]),
        "joules_per_answer": median([one.figures.joules for one in found]),
        "gigabytes": median([(one.figures.megabytes_down + one.figures.megabytes_up) / 1000 for one in found]),
        "kilojoules": median([one.figures.energy_wh * 3.6 for one in found]),
        "step_s": [median([one.figures.step_s[q] for one in found]) for q in range(3)],
        "staleness": [median([one.figures.staleness[q] for one in found]) for q in range(3)],
        "answers_of_old_phones_over_their_share": median([row.of_answers / row.of_ready for row in old]),
        "old_phones_left_out": median([row.left_out for row in old]),
    }


if __name__ == "__main__":
    main("asynchronous", {"few": few, "many": many}, versions("skerry", "numpy"))
