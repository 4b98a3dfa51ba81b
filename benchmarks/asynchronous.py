"""Buffered asynchronous runs against rounds, in the virtual time of ten thousand phones with stragglers.

Fleet, work, data and the number of phones that are asked at a time are the same for all. Each side is tuned on one seed
that is not measured, by the same criterion, but not over as many settings: 24 of the buffer, 24 of rounds that may
choose how many of the phones asked they wait for (what a deadline and over-selection come to), 6 of over-selection by
30 %, where nothing but learning rate and momentum is left to choose, 18 of patient rounds. What is claimed is measured
on other seeds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
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
    buffered_steps,
    draw_fleet,
    fashion_phones,
    figures_of,
    learn,
    synchronous_steps,
)
from skerry.strategies import FedAvgM, Mean
from skerry.strategies.buffered import BufferedRule

PHONES_IN_FLEET = 10_000
AT_WORK = 130
TARGET = 0.80
EVERY = 100  # answers from one evaluation to the next, for everybody
LONGEST_H = 24.0
EVENING_S = 20 * 3600.0
EXAMPLES = 100  # median of a phone; in proportion to the pictures that it has
WORK = Work(bytes_down=14_000_000, bytes_up=14_000_000, gflop=1.8)  # a whole MobileNetV2 at 224 pixels
TUNED_ON = (1000,)
SEEDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class Policy:
    """One way to run the fleet, and how it learns."""

    schedule: Rounds | Buffer
    learning_rate: float
    momentum: float

    @property
    def answers(self) -> int:
        """Of a step."""
        return self.schedule.goal if isinstance(self.schedule, Rounds) else self.schedule.size

    def steps(self, fleet: Fleet, seed: int) -> Iterator[Step]:
        """Without end, from the evening on."""
        if isinstance(self.schedule, Rounds):
            return synchronous_steps(fleet, WORK, self.schedule, seed=seed, start=EVENING_S)
        return buffered_steps(fleet, WORK, self.schedule, seed=seed, start=EVENING_S)

    def to_json(self) -> dict[str, Any]:
        """As it is told."""
        learning = {"learning_rate": self.learning_rate, "momentum": self.momentum}
        return {name: round(value, 3) for name, value in (vars(self.schedule) | learning).items()}


@dataclass(frozen=True)
class Reached:
    """Hours until the target, or None; and what the way there came to."""

    hours: float | None
    figures: PolicyFigures


RATES, MOMENTA = (0.3, 0.6, 1.0), (0.0, 0.9)
BUFFERS = [
    Buffer(size=size, concurrency=AT_WORK, timeout_s=float(limit))
    for size, limit in ((10, 600), (10, 300), (5, 600), (20, 600))
]


def waiting_for(*goals: int) -> list[Rounds]:
    """Rounds that ask everybody who may be asked, and wait for so many."""
    return [Rounds(goal=goal, over_selection=AT_WORK / goal - 1, deadline_s=600.0) for goal in goals]


HASTY = waiting_for(43, 26, 65, 100)
THIRTY = waiting_for(100)
PATIENT = [*waiting_for(120), Rounds(goal=AT_WORK, deadline_s=300.0), Rounds(goal=AT_WORK, deadline_s=600.0)]


def settings(schedules: Sequence[Rounds | Buffer]) -> list[Policy]:
    return [Policy(*one) for one in product(schedules, RATES, MOMENTA)]


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

    optimizer = FedAvgM(1 - policy.momentum, policy.momentum)  # the length of a step is that without momentum
    learning = Learning(rule=BufferedRule(Mean()), optimizer=optimizer, learning_rate=policy.learning_rate)
    last: list[float] = []
    hours = None
    for point in learn(kept(), data, learning, seed=seed, every=max(1, round(EVERY / policy.answers))):
        last = [*last[-2:], point.accuracy]
        if len(last) == 3 and float(np.median(last)) >= TARGET:
            hours = point.seconds / 3600
            break
        if point.seconds > limit_h * 3600:
            break
    return Reached(hours, figures_of("", fleet, taken))


def tuned(name: str, policies: Sequence[Policy]) -> Policy:
    """The setting whose worst time on the tuning seeds is the least; others are not tried to their end."""
    limit, best = LONGEST_H, None
    for policy in policies:
        slowest = 0.0
        for seed in TUNED_ON:
            hours = reach(policy, *world(seed), seed, limit).hours
            slowest = np.inf if hours is None else max(slowest, hours)
            if slowest >= limit:
                break
        said = f"{slowest:.2f} h" if slowest < limit else f"not within {limit:.2f} h"
        progress(f"tuning {name}: {policy.to_json()}: {said}")
        if slowest < limit:
            limit, best = slowest, policy
    if best is None:
        raise NotMeasuredError(f"no setting of {name} reaches {TARGET:.0%} within {LONGEST_H:g} h")
    return best


def asynchronous(scratch: Path) -> list[Claim]:
    """Hours to the target: a buffer over rounds, tuned and with 30 % over-selection."""
    del scratch
    policies = {
        "buffer": tuned("buffer", settings(BUFFERS)),
        "rounds, tuned": tuned("rounds", settings(HASTY)),
        "rounds +30 %": tuned("rounds +30 %", settings(THIRTY)),
        "patient rounds": tuned("patient rounds", settings(PATIENT)),
    }
    found: dict[str, list[Reached]] = {name: [] for name in policies}
    for seed in SEEDS:
        fleet, data = world(seed)
        for name, policy in policies.items():
            found[name].append(reach(policy, fleet, data, seed))
            progress(f"seed {seed}: {name} {found[name][-1].hours} h")
    claims = {
        "time": "rounds, tuned",
        "time_over_selection": "rounds +30 %",
        "time_patient": "patient rounds",
    }
    return [_claim(name, peer, found["buffer"], found[peer], policies) for name, peer in claims.items()]


def _claim(
    identifier: str, peer: str, mine: list[Reached], theirs: list[Reached], policies: dict[str, Policy]
) -> Claim:
    pairs = [(a.hours, b.hours) for a, b in zip(mine, theirs, strict=True)]
    ratios = [a / b for a, b in pairs if a is not None and b is not None]
    whole = len(ratios) == len(pairs)
    return Claim(
        id=identifier,
        text=f"{PHONES_IN_FLEET:,} phones, {AT_WORK} asked at a time, real training on Fashion-MNIST: virtual time to "
        f"{TARGET:.0%} in a buffer over that in {peer}",
        value=Samples(ratios).median if whole else None,
        unit="ratio",
        op="<=",
        bar=0.5,
        peer=Peer(f"{peer}, h", Samples([b for _, b in pairs if b is not None]).median if whole else None),
        spread=Samples(ratios).spread if ratios else None,
        detail={"buffer": _told(mine, policies["buffer"]), "peer": _told(theirs, policies[peer])},
    )


def _told(found: list[Reached], policy: Policy) -> dict[str, Any]:
    def median(values: Sequence[float]) -> float:
        return float(f"{Samples(values).median:.3g}")

    old = [next(row for row in one.figures.classes if row.name == "old") for one in found]
    return {
        "setting": policy.to_json(),
        "hours": [None if one.hours is None else round(one.hours, 2) for one in found],
        "answers": median([one.figures.answers for one in found]),
        "joules_per_answer": median([one.figures.joules for one in found]),
        "kilojoules": median([one.figures.energy_wh * 3.6 for one in found]),
        "step_s": [median([one.figures.step_s[q] for one in found]) for q in range(3)],
        "staleness": [median([one.figures.staleness[q] for one in found]) for q in range(3)],
        "answers_of_old_phones_over_their_share": median([row.of_answers / row.of_ready for row in old]),
        "old_phones_left_out": median([row.left_out for row in old]),
    }


if __name__ == "__main__":
    main("asynchronous", {"asynchronous": asynchronous}, versions("skerry", "numpy"))
