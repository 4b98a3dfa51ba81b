"""What ``skerry fleet plan`` asks of a simulated fleet: rounds, rounds that ask more than they need, and a buffer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from skerry.errors import InputError
from skerry.server.engines.virtual import (
    Buffer,
    Fleet,
    FleetProfile,
    Learning,
    PhoneData,
    Point,
    PolicyFigures,
    Rounds,
    Step,
    Work,
    draw_fleet,
    fashion_phones,
    figures_of,
    learn,
    policy_steps,
    synthetic_phones,
)
from skerry.strategies import FedAvgM, Mean
from skerry.strategies.buffered import BufferedRule

__all__ = ["PlannedPolicy", "Wish", "planned"]

_LEARNING = Learning(rule=BufferedRule(Mean()), optimizer=FedAvgM(), learning_rate=0.3)
_POINTS = 40  # of a curve
_PATIENCE = 5  # times as many steps as answers need, before the rest of a hopeless schedule is given up


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to be tried.

    Attributes:
        profile: of the fleet.
        phones: in it.
        rounds: goal, over-selection and deadline; tried without over-selection too.
        buffer: of the buffered run.
        work: of one participation.
        answers: that each policy collects.
        examples: on a phone, median.
        start_h: hour of the day.
        data: ``fashion``, ``synthetic``, or None for no training.
        seed: of everything.
    """

    profile: FleetProfile
    phones: int
    rounds: Rounds
    buffer: Buffer
    work: Work
    answers: int
    examples: int = 100
    start_h: float = 20.0
    data: Literal["fashion", "synthetic"] | None = None
    seed: int = 0


@dataclass(frozen=True)
class PlannedPolicy:
    """What one policy came to; without training there are no points."""

    figures: PolicyFigures
    points: tuple[Point, ...] = ()


def planned(wish: Wish, progress: Callable[[str], None] = lambda _: None) -> list[PlannedPolicy]:
    """Try the policies, in the order: rounds, rounds with over-selection (if there is any), buffer.

    Raises:
        InputError: so many phones are never ready together, or the answers do not come.
        MissingDependencyError: the data are not on this machine.
    """
    fleet = draw_fleet(wish.profile, wish.phones, seed=wish.seed, examples=wish.examples)
    data = _data(wish)
    if data is not None:  # numbers of examples are those of the data, in proportion
        scaled = data.counts * (wish.examples / float(np.median(data.counts)))
        fleet = fleet.holding(np.rint(scaled).clip(min=1).astype(np.int64))
    start = wish.start_h * 3600
    plain = replace(wish.rounds, over_selection=0.0)
    policies: dict[str, Rounds | Buffer] = {"rounds": plain}
    if wish.rounds.over_selection:
        policies[f"rounds +{100 * wish.rounds.over_selection:.0f} %"] = wish.rounds
    policies[f"buffer {wish.buffer.size} of {wish.buffer.concurrency}"] = wish.buffer
    found = []
    for name, policy in policies.items():
        progress(name)
        steps = policy_steps(fleet, wish.work, policy, seed=wish.seed, start=start)
        least = policy.goal if isinstance(policy, Rounds) else policy.size
        found.append(_tried(name, fleet, _collected(steps, wish.answers, least), data, wish))
    return found


def _tried(name: str, fleet: Fleet, steps: list[Step], data: PhoneData | None, wish: Wish) -> PlannedPolicy:
    figures = figures_of(name, fleet, steps)
    if data is None:
        return PlannedPolicy(figures)
    every = max(1, len(steps) // _POINTS)
    points = learn(steps, data, _LEARNING, seed=wish.seed, reach=wish.buffer.max_staleness, every=every)
    return PlannedPolicy(figures, tuple(points))


def _collected(steps: Iterator[Step], answers: int, least: int) -> list[Step]:
    """Steps until so many answers are there."""
    made: list[Step] = []
    have = 0
    while have < answers:
        if len(made) > _PATIENCE * (answers // least + 1):
            raise InputError(
                f"after {len(made):,} steps {have:,} of {answers:,} answers are there",
                mend="give phones longer (--deadline), or ask less of them",
            )
        made.append(next(steps))
        have += len(made[-1].phones)
    return made


def _data(wish: Wish) -> PhoneData | None:
    if wish.data is None:
        return None
    if wish.data == "fashion":
        return fashion_phones(wish.phones, seed=wish.seed)
    return synthetic_phones(wish.phones, seed=wish.seed)
