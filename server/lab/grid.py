"""A grid of the attack lab: aggregation rules × attacks × heterogeneity, each cell over several seeds."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from skerry.config import DefenceConfig
from skerry.config.reading import read_toml
from skerry.errors import ScenarioError
from skerry.security.anomaly import detectors_for
from skerry.security.anomaly.calibration import LARGEST_RATE
from skerry.security.attacks import ATTACKS, attack_named
from skerry.server.lab.cell import Defence, Outcome, Setting, train
from skerry.server.lab.mnist1d import CLASSES
from skerry.server.lab.poisons import POISONS
from skerry.strategies import parse_rule

__all__ = ["QUIET", "Cell", "Grid", "check", "load_grid", "run_grid"]

QUIET = "none"
"""The column in which nobody attacks."""

Count = Annotated[int, Field(ge=1)]


class Grid(BaseModel):
    """What is tried; every key has a default, and an empty file tries the default defence against everything."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    aggregators: tuple[str, ...] = Field(("mean", DefenceConfig().aggregator), min_length=1)
    screen: tuple[str, ...] = DefenceConfig().screen
    false_alarms: Annotated[float, Field(gt=0, le=LARGEST_RATE)] | None = DefenceConfig().false_alarms
    attacks: tuple[str, ...] = Field((QUIET, *POISONS, *ATTACKS), min_length=1)
    alphas: tuple[Annotated[float, Field(gt=0)], ...] = Field((0.3,), min_length=1)
    seeds: Count = 1
    honest: Count = Setting.honest
    hostile: Annotated[int, Field(ge=0)] = Setting.hostile
    steps: Count = Setting.steps
    batch: Count = Setting.batch
    momentum: Annotated[float, Field(ge=0, lt=1)] = Setting.momentum
    learning_rate: Annotated[float, Field(gt=0)] = Setting.learning_rate
    target: Annotated[int, Field(ge=0, lt=CLASSES)] = Setting.target

    def setting(self, alpha: float) -> Setting:
        """The federation at one heterogeneity."""
        named = {field.name for field in fields(Setting)} - {"alpha"}
        return Setting(alpha=alpha, **self.model_dump(include=named))


@dataclass(frozen=True)
class Cell:
    """One rule under one attack at one heterogeneity; an outcome for each seed, from 0 on."""

    aggregator: str
    attack: str
    alpha: float
    outcomes: tuple[Outcome, ...]

    @property
    def accuracy(self) -> float:
        """Mean over the seeds."""
        return float(np.mean([outcome.accuracy for outcome in self.outcomes]))

    @property
    def success(self) -> float | None:
        """How often a backdoor's trigger works, mean over the seeds; None for other attacks."""
        found = [outcome.success for outcome in self.outcomes if outcome.success is not None]
        return float(np.mean(found)) if found else None

    def to_json(self) -> dict[str, Any]:
        """As ``skerry security attack --json`` prints it."""
        outcomes = self.outcomes
        return {
            "aggregator": self.aggregator,
            "attack": self.attack,
            "alpha": self.alpha,
            "accuracy": self.accuracy,
            "accuracies": [outcome.accuracy for outcome in outcomes],
            "backdoor_success": self.success,
            "hostile_quarantined": float(np.mean([outcome.caught for outcome in outcomes])),
            "honest_quarantined": float(np.mean([outcome.wronged for outcome in outcomes])),
            "hostile_rows_dropped": float(np.mean([outcome.dropped for outcome in outcomes])),
            "honest_rows_dropped": float(np.mean([outcome.dropped_honest for outcome in outcomes])),
        }


def load_grid(path: Path) -> Grid:
    """Read a grid file.

    Raises:
        ScenarioError: it cannot be read, breaks the schema, or names an unknown rule, detector or attack.
        InputError: an unknown attack.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"the grid file cannot be read: {error}", where=str(path)) from error
    grid = read_toml(Grid, text, where=str(path), overrides=(), doc="docs/attack-lab.md")
    check(grid)
    return grid


def check(grid: Grid) -> None:
    """Refuse what a cell would stumble over, before the first one runs.

    Raises:
        ScenarioError: unknown rule or detector, or too few devices for a rule.
        InputError: unknown attack.
    """
    detectors_for(grid.screen)
    for name in grid.attacks:
        if name not in {QUIET, *POISONS}:
            attack_named(name)
    for name in grid.aggregators:
        need, count = parse_rule(name, tolerate=grid.hostile).minimum(), grid.honest + grid.hostile
        if need > count:
            raise ScenarioError(
                f"{name} needs {need} devices when {grid.hostile} are hostile, the grid has {count}",
                where="aggregators",
                mend="raise honest, or lower hostile",
            )


def run_grid(grid: Grid, tell: Callable[[int, int], None] = lambda *_: None) -> list[Cell]:
    """Run every cell, one after the other.

    Args:
        grid: a checked grid.
        tell: called before each training with how many are done and how many there are.
    """
    cells = []
    plan = list(_plan(grid))
    for number, (alpha, aggregator, attack) in enumerate(plan):
        outcomes = []
        for seed in range(grid.seeds):
            tell(number * grid.seeds + seed, len(plan) * grid.seeds)
            defence = Defence(aggregator, grid.screen, grid.false_alarms)
            outcomes.append(train(defence, attack, grid.setting(alpha), seed))
        cells.append(Cell(aggregator, attack, alpha, tuple(outcomes)))
    return cells


def _plan(grid: Grid) -> Iterable[tuple[float, str, str]]:
    return (
        (alpha, aggregator, attack)
        for alpha in grid.alphas
        for aggregator in grid.aggregators
        for attack in grid.attacks
    )
