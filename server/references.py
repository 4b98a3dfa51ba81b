"""The same scenario without privacy, and without defence: what each of them costs and buys, measured beside the run.

Each reference is a whole run of its own through the in-process engine, in a folder that is removed afterwards.
"""

import tempfile
from pathlib import Path

from skerry.clock import Clock
from skerry.config import Scenario
from skerry.device.app import app, fleet_homes
from skerry.device.worker import process_worker
from skerry.runfolder import RunFolder
from skerry.server.discover import discover
from skerry.server.engines.flwr_adapter import task_identity
from skerry.server.engines.inprocess_grid import InProcessGrid
from skerry.server.federation import Federation
from skerry.server.prepare import prepare
from skerry.server.rounds import run_rounds

__all__ = ["accuracy_without_canaries", "reference_scenarios", "run_references"]


def reference_scenarios(scenario: Scenario) -> dict[str, Scenario]:
    """``non_private``: no clipping, no noise, nobody hostile; ``undefended``: the same attack met by the plain mean."""
    found: dict[str, Scenario] = {}
    scenario = _unplanted(scenario)
    honest = scenario.attack.model_copy(update={"devices": 0})
    scenario = scenario.model_copy(update={"privacy": scenario.privacy.model_copy(update={"ledgers": None})})
    open_privacy = scenario.privacy.model_copy(update={"unit": "none"})
    mean = scenario.defence.model_copy(update={"aggregator": "mean", "tolerate": 0, "screen": ()})
    if scenario.privacy.unit != "none":
        found["non_private"] = scenario.model_copy(update={"privacy": open_privacy, "attack": honest, "defence": mean})
    if scenario.attack.devices and scenario.attack.kind != "none":
        found["undefended"] = scenario.model_copy(update={"defence": mean})
    return found


def run_references(scenario: Scenario, clock: Clock) -> dict[str, list[float]]:
    """Held-out accuracy by round of each reference (the last entry is the final one)."""
    return {name: _accuracies(variant, clock) for name, variant in reference_scenarios(scenario).items()}


def accuracy_without_canaries(scenario: Scenario, clock: Clock) -> float:
    """Held-out accuracy of the same scenario when nothing is planted."""
    return _accuracies(_unplanted(scenario), clock)[-1]


def _unplanted(scenario: Scenario) -> Scenario:
    return scenario.model_copy(update={"audit": scenario.audit.model_copy(update={"canaries": 0})})


def _accuracies(scenario: Scenario, clock: Clock) -> list[float]:
    with tempfile.TemporaryDirectory(prefix="skerry-reference-") as parent:
        folder = RunFolder.create(Path(parent), scenario, engine="inprocess")
        prepared = prepare(folder, clock, process_worker())
        with task_identity(1), process_worker().ledgers.holding():
            grid = InProcessGrid(app, [{"skerry-home": str(path)} for path in fleet_homes(folder.path)])
            nodes = discover(folder, grid, prepared.task.devices(), clock, patience_s=60.0)
            federation = Federation.assemble(folder, prepared, grid, nodes, clock)
            with federation.ledger:
                return [record.accuracy for record in run_rounds(federation).records]
