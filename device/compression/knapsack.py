"""The multiple-choice knapsack: one choice for each item, the least total loss that a total cost allows.

Solved exactly by dynamic programming over costs (Kellerer, Pferschy & Pisinger, *Knapsack Problems*, chapter 11).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Choice", "choose"]


@dataclass(frozen=True)
class Choice:
    """One way to treat an item: what it costs, a whole number, and what is lost by it."""

    cost: int
    loss: float


def choose(items: Sequence[Sequence[Choice]], budget: int) -> tuple[int, ...] | None:
    """The index of one choice for each item, or None when even the cheapest ones cost more than the budget.

    Guarantee: no other selection within the budget has a smaller sum of losses, up to rounding of the sum; of equal
    ones the same is always taken. Time and memory grow with items x budget / (greatest common divisor of all
    differences of cost).

    Args:
        items: their choices; at least one each.
        budget: most that all choices together may cost.
    """
    least = [min(choice.cost for choice in item) for item in items]
    extra = [[choice.cost - low for choice in item] for item, low in zip(items, least, strict=True)]
    unit = math.gcd(*(cost for costs in extra for cost in costs)) or 1
    room = (budget - sum(least)) // unit
    if budget < sum(least):
        return None
    room = min(room, sum(max(costs) for costs in extra) // unit)
    loss = np.zeros(room + 1)  # the least loss of the items so far, for each number of units that they may cost
    taken: list[npt.NDArray[np.int16]] = []
    for item, costs in zip(items, extra, strict=True):
        reached, pick = np.full(room + 1, np.inf), np.zeros(room + 1, np.int16)
        for index, (choice, cost) in enumerate(zip(item, costs, strict=True)):
            units = cost // unit
            if units <= room:
                tried = loss[: room + 1 - units] + choice.loss
                better = tried < reached[units:]
                reached[units:][better] = tried[better]
                pick[units:][better] = index
        loss = reached
        taken.append(pick)
    chosen, left = [], room
    for costs, pick in zip(reversed(extra), reversed(taken), strict=True):
        index = int(pick[left])
        chosen.append(index)
        left -= costs[index] // unit
    return tuple(reversed(chosen))
