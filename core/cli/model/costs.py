"""What ``skerry model show`` says of a network: what each mode of fine-tuning costs on this machine."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.cli.console import emit, note, out, table

if TYPE_CHECKING:
    from skerry.config import ModelConfig, TaskConfig
    from skerry.device.step_cost import StepCost

__all__ = ["show_costs"]


def show_costs(
    name: str, overrides: Iterable[str], *, modes: Sequence[str], batch: int, again: bool, as_json: bool
) -> None:
    """Measure every mode of a network, or find what was measured, and tell.

    Args:
        name: an architecture, measured on noise of its published input shape; or a scenario file, measured on the
            first examples of a device of its task.
        overrides: keys of the scenario to override.
        modes: which; all when empty.
        batch: examples of a step.
        again: measure anew.
        as_json: as one JSON document.
    """
    from rich.text import Text

    from skerry.config import OVER_INT8
    from skerry.device.step_cost import MODES, measure_modes
    from skerry.errors import ScenarioError

    def progress(stage: str) -> None:
        if not as_json:
            note().print(Text(stage, style="dim"))

    if wrong := [mode for mode in modes if mode not in MODES]:
        raise ScenarioError(f"there is no mode {wrong[0]!r}", where="--mode", mend=f"there are: {', '.join(MODES)}")
    model, task, engine = _chosen(name, overrides)
    possible = [mode for mode in MODES if model.bits == 8 or mode not in OVER_INT8]
    if not modes and len(possible) < len(MODES):
        left = " and ".join(mode for mode in MODES if mode not in possible)
        progress(f"{left} train over int8 weights: left out, as model.bits = {model.bits}")
    costs = measure_modes(model, task, modes or possible, batch=batch, engine=engine, again=again, progress=progress)
    if as_json:
        emit({"network": name, "architecture": model.architecture, "modes": [asdict(cost) for cost in costs]})
        return
    _tell(name, costs)


def _chosen(name: str, overrides: Iterable[str]) -> "tuple[ModelConfig, TaskConfig, str]":
    from skerry.config import TaskConfig, default_scenario, load_scenario
    from skerry.device.models import ARCHITECTURES

    if name not in ARCHITECTURES:
        scenario = load_scenario(Path(name), overrides)
        return scenario.model, scenario.task, scenario.privacy.engine
    size = ARCHITECTURES[name].published_size
    # Blocks and grid of the default scenario are its own network's.
    own = (f"model.architecture={name}", f"model.input_size={max(8, size)}", "model.blocks=0", "model.grid=1")
    model = default_scenario((*own, "model.trainable=full", *overrides)).model
    return model, TaskConfig(name="skerry.device.step_cost:NoiseTask"), "skerry"


def _tell(name: str, costs: "list[StepCost]") -> None:
    from skerry.wording import size

    figures = ["trained", "sent", "memory added", "step", "features, once"]
    shown = table(f"one private step of {costs[0].batch} examples of {name}", ["mode", *figures], right=figures)
    for cost in costs:
        once = f"{cost.features_ms:.1f} ms an example" if cost.features_ms else "–"
        added = f"{cost.added_mb:.0f} MB"
        shown.add_row(cost.mode, f"{cost.trained:,}", size(4 * cost.trained), added, f"{cost.step_ms:.1f} ms", once)
    out().print(shown)
    when = datetime.fromtimestamp(min(cost.measured for cost in costs), UTC).strftime("%Y-%m-%d %H:%M UTC")
    note().print(f"measured on {costs[0].machine}, one thread; the oldest figure is of {when}")
