"""What is left of a device's ε, as a coordinator must assume it: a device that was asked has spent, answer or not.

Under unit ``device`` a run costs each device that it names, whether it was ever drawn or not.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skerry.config.scenario import PrivacyConfig
from skerry.runfolder import list_runs
from skerry.security.privacy.accounting import ORDERS, Rdp, compose, epsilon_from_rdp
from skerry.security.privacy.verification import read_entries
from skerry.server.asked import asked_of

if TYPE_CHECKING:
    from skerry.server.registry import Scope

__all__ = ["Remaining", "budget_of", "remaining_before"]


@dataclass(frozen=True)
class Remaining:
    """A budget, and what devices were asked to spend of it.

    What a device spends elsewhere is not known here: its own ledger refuses what is too much, whatever this says.

    Attributes:
        epsilon: the budget of each device.
        delta: at which it holds.
        spent: RDP of each device, at ``ORDERS``; infinite of one that was asked for updates without noise.
    """

    epsilon: float
    delta: float
    spent: Mapping[str, Rdp] = field(default_factory=dict)

    def left(self, device: str, more: Rdp | None = None) -> float:
        """ε that is left at δ, by RDP, after ``more`` is spent too; 0 when nothing is."""
        parts = [part for part in (self.spent.get(device), more) if part is not None]
        if not parts:
            return self.epsilon
        total = np.sum(parts, axis=0)
        if not np.isfinite(total).any():
            return 0.0
        return max(0.0, self.epsilon - float(epsilon_from_rdp(total, self.delta)[0]))


def budget_of(privacy: PrivacyConfig) -> Remaining:
    """The budget of each device that a scenario names, with nothing spent of it."""
    return Remaining(privacy.budget or privacy.epsilon, privacy.delta)


def remaining_before(runs: Path, scope: "Scope", budget: Remaining, *, but: str | None = None) -> Remaining:
    """What the runs of a folder have left of each device's budget.

    Args:
        runs: the folder.
        scope: whose devices; a name that was enrolled again counts as the same, whoever has it now.
        budget: of each device over all runs.
        but: a run that is not counted.

    Raises:
        InputError: a ledger cannot be read: what it holds would not be counted.
    """
    from skerry.server.registry import run_scope  # the registry's library, which no simulation waits for

    prices: dict[str, Rdp] = {}
    for run in list_runs(runs):
        if run.id == but or run.simulated or not (ledger := run.path / "ledger" / "population.jsonl").exists():
            continue
        if "federation" in run.status and run_scope(run) != scope:  # of which it is unknown whose it is counts too
            continue
        entries, _ = read_entries(ledger)
        for device, asked in asked_of(entries).items():
            if asked.rounds or asked.prices:
                bare = not asked.prices  # it was asked for updates without noise
                price = np.full(len(ORDERS), math.inf) if bare else compose(asked.prices)
                prices[device] = prices.get(device, np.zeros(len(ORDERS))) + price
    return replace(budget, spent=prices)
