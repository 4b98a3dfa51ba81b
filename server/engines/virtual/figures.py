"""What a schedule comes to: how long steps take, who is left out, what it costs."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from skerry.errors import InputError
from skerry.server.engines.virtual.phones import Fleet
from skerry.server.engines.virtual.schedule import Step

__all__ = ["ClassFigures", "PolicyFigures", "figures_of"]

_QUANTILES = (0.5, 0.9, 0.99)
_INSTANTS = 48
_Counts = npt.NDArray[np.intp]


@dataclass(frozen=True)
class ClassFigures:
    """Phones of one class.

    Attributes:
        name: of the class.
        of_fleet: its share of all phones.
        of_ready: its share of phone-hours in which somebody may work, during the schedule.
        of_answers: its share of answers that counted.
        asked: times that a phone of it was asked.
        left_out: share of those whose answer did not count: late, too stale, or never sent.
        never: share of its phones none of whose answers counted.
    """

    name: str
    of_fleet: float
    of_ready: float
    of_answers: float
    asked: int
    left_out: float
    never: float


@dataclass(frozen=True)
class PolicyFigures:
    """One policy on one fleet; times in seconds, quantiles at 50, 90 and 99 %.

    Attributes:
        name: of the policy.
        steps: of the server.
        hours: that they took.
        step_s: quantiles of a step's duration.
        answers: that counted, in all.
        asked: times that a phone was asked.
        late: answers that came and did not count.
        at_work: phones at work at a time, on average: those whose answer will not count too.
        lost: times that a phone ceased before it had answered.
        staleness: quantiles over answers that counted.
        energy_wh: of all phones, watt-hours.
        joules: for each answer that counted.
        battery: quantiles over participations of the share of a full battery that one took.
        megabytes_down: of all phones, 10^6 bytes.
        megabytes_up: the same.
        fairness: Jain's index of the answers that counted over all phones: 1 when all have as many, 1/n when one has
            all.
        classes: the same by class of phones.
        durations: of every step, for a plot.
    """

    name: str
    steps: int
    hours: float
    step_s: tuple[float, float, float]
    answers: int
    asked: int
    late: int
    at_work: float
    lost: int
    staleness: tuple[float, float, float]
    energy_wh: float
    joules: float
    battery: tuple[float, float, float]
    megabytes_down: float
    megabytes_up: float
    fairness: float
    classes: tuple[ClassFigures, ...]
    durations: tuple[float, ...]


def figures_of(name: str, fleet: Fleet, steps: Iterable[Step]) -> PolicyFigures:
    """Add up a schedule.

    Args:
        name: of the policy.
        fleet: that the schedule was made for.
        steps: at least one.

    Raises:
        InputError: there is no step.
    """
    made = list(steps)
    if not made:
        raise InputError("a schedule without steps has no figures")
    attempts = [step.attempts for step in made]
    phones = np.concatenate([step.phones for step in made])
    energy = np.concatenate([one.energy_j for one in attempts])
    asked = np.concatenate([step.asked for step in made])
    capacity = np.array([one.battery_wh for one in fleet.profile.classes])[fleet.classes[asked]]
    counted = np.bincount(phones, minlength=len(fleet))
    out = np.concatenate([step.late for step in made] + [one.phones[one.lost] for one in attempts])
    left = np.bincount(out, minlength=len(fleet))
    times = np.bincount(asked, minlength=len(fleet))
    squares = float(len(fleet) * np.sum(counted.astype(np.float64) ** 2))
    durations = tuple(step.ended - step.began for step in made)
    return PolicyFigures(
        name=name,
        steps=len(made),
        hours=(made[-1].ended - made[0].began) / 3600,
        step_s=_quantiles(np.array(durations)),
        answers=len(phones),
        asked=len(asked),
        late=sum(len(step.late) for step in made),
        at_work=sum(one.work_s for one in attempts) / (made[-1].ended - made[0].began),
        lost=sum(int(one.lost.sum()) for one in attempts),
        staleness=_quantiles(np.concatenate([step.staleness for step in made])),
        energy_wh=float(energy.sum()) / 3600,
        joules=float(energy.sum()) / max(len(phones), 1),
        battery=_quantiles(energy / 3600 / capacity),
        megabytes_down=sum(float(one.bytes_down.sum()) for one in attempts) / 1e6,
        megabytes_up=sum(float(one.bytes_up.sum()) for one in attempts) / 1e6,
        fairness=float(counted.sum()) ** 2 / squares if squares else 0.0,
        classes=_by_class(fleet, counted, times, left, _ready_hours(fleet, made[0].began, made[-1].ended)),
        durations=durations,
    )


def _by_class(
    fleet: Fleet, counted: _Counts, times: _Counts, left: _Counts, ready: npt.NDArray[np.float64]
) -> tuple[ClassFigures, ...]:
    found = []
    for number, kind in enumerate(fleet.profile.classes):
        of = fleet.classes == number
        asked, answers = int(times[of].sum()), int(counted[of].sum())
        found.append(
            ClassFigures(
                name=kind.name,
                of_fleet=float(of.mean()),
                of_ready=float(ready[of].sum() / ready.sum()) if ready.sum() else 0.0,
                of_answers=answers / max(int(counted.sum()), 1),
                asked=asked,
                left_out=int(left[of].sum()) / max(asked, 1),
                never=float((counted[of] == 0).mean()) if of.any() else 0.0,
            )
        )
    return tuple(found)


def _ready_hours(fleet: Fleet, began: float, ended: float) -> npt.NDArray[np.float64]:
    """``(n,)``: at how many of evenly spaced instants each phone was ready."""
    instants = np.linspace(began, ended, _INSTANTS)
    hours = np.zeros(len(fleet))
    for at in instants.tolist():
        hours += fleet.ready(at)
    return hours


def _quantiles(values: npt.NDArray[np.float64] | npt.NDArray[np.int64]) -> tuple[float, float, float]:
    if not len(values):
        return (0.0, 0.0, 0.0)
    low, high, highest = (float(value) for value in np.quantile(values, _QUANTILES))
    return low, high, highest
