"""``skerry fleet list --where``: whom a condition chooses of those enrolled, and what keeps the others out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from skerry.where import Where

__all__ = ["BUDGET", "DELTA", "BudgetOption", "Choice", "DeltaOption", "WhereOption", "choose", "condition"]

BUDGET, DELTA = 8.0, 1e-5
WhereOption = Annotated[
    str | None,
    typer.Option("--where", metavar="CONDITION", help="Only enrolled devices that satisfy it: class == 'pi'."),
]
BudgetOption = Annotated[
    float, typer.Option("--budget", metavar="EPSILON", min=0, help="Of which epsilon_left is what is left.")
]
DeltaOption = Annotated[
    float, typer.Option("--delta", metavar="DELTA", min=1e-300, max=0.5, help="At which that budget holds.")
]


@dataclass(frozen=True)
class Choice:
    """What a condition makes of the enrolled devices in good standing.

    Attributes:
        chosen: the registry's numbers of those that satisfy it.
        left_out: the names of the others, each with the parts of the condition that keep it out.
    """

    chosen: frozenset[int]
    left_out: Mapping[str, tuple[str, ...]]

    @property
    def known(self) -> int:
        """How many devices there are."""
        return len(self.chosen) + len(self.left_out)


def condition(text: str) -> "Where":
    """The condition that was written.

    Raises:
        InputError: it is none.
    """
    from skerry.where import parse_where

    return parse_where(text)


def choose(runs: Path, where: "Where", now: int, *, budget: float, delta: float, half_life_days: float) -> Choice:
    """Hold the condition against every enrolled device in good standing, as a run would that begins now.

    Args:
        runs: folder of runs.
        where: the condition.
        now: ms since the epoch.
        budget: ε of each device over all runs.
        delta: at which it holds.
        half_life_days: of the evidence of trust.
    """
    from skerry.errors import InputError
    from skerry.server.fleet_facts import facts_of
    from skerry.server.recipients import enrolled_recipients
    from skerry.server.remaining import Remaining, remaining_before

    try:
        enrolments = enrolled_recipients(runs, now=now, upgrade=False).enrolments
    except InputError:  # nobody is enrolled, or of nobody the certificate holds
        return Choice(frozenset(), {})
    facts = facts_of(runs, enrolments.values(), where, now, half_life_days=half_life_days)
    remaining = Remaining(budget, delta)
    if "epsilon_left" in where.names:
        scope = next(iter(enrolments.values())).device.scope
        remaining = remaining_before(runs, scope, remaining)
    left_out: dict[str, tuple[str, ...]] = {}
    for name, known in facts.items():
        device = replace(known, epsilon_left=remaining.left(name))
        if not where.chooses(device):
            left_out[name] = where.misses(device)
    return Choice(frozenset(enrolments[name].device.id for name in facts if name not in left_out), left_out)
