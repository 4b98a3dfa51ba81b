"""How accurate a vector is on the data of a simulation's training devices, each by itself.

Where devices live in processes of their own, each process measures its own devices, whose inputs it has made already,
while the coordinator goes on. A real device never reports this.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from skerry.canonical import decode, encode
from skerry.device.local_model import LocalModel
from skerry.device.personal import PersonalModel
from skerry.device.protocol import from_bytes, to_bytes
from skerry.device.tasks.metrics import evaluate
from skerry.device.tasks.task import Task
from skerry.device.worker import process_worker
from skerry.records import Float32Array
from skerry.runfolder import RunFolder
from skerry.server.engines.grid import RunGrid
from skerry.server.federation import Federation

__all__ = ["OWN", "measure_part", "own_accuracies"]

OWN = "own accuracy"
"""The chore's name."""

BeforeAndAfter = tuple[float, float]


def own_accuracies(
    federation: Federation, devices: Sequence[str], before: Float32Array, after: Float32Array
) -> Callable[[], Mapping[str, BeforeAndAfter]]:
    """Begin to measure; what is returned waits for the end of it.

    Args:
        federation: a simulation.
        devices: whose data are looked at.
        before: a vector that everybody starts from.
        after: a vector that a device with a head of its own joins with that.

    Returns:
        The accuracy of both vectors for each device. What it raises is that of a device whose data cannot be used;
        where they are measured in this process, this function raises it.
    """
    nodes = {device: federation.nodes[device] for device in devices}
    grid = federation.grid
    asked: Callable[[], list[bytes]] | None = None
    if isinstance(grid, RunGrid) and grid.hands and devices:
        shared = {
            "run": str(federation.folder.path),
            "model": federation.model.digest,
            "before": to_bytes(before),
            "after": to_bytes(after),
        }

        def part(here: frozenset[int]) -> bytes:
            return encode({**shared, "devices": [device for device, node in nodes.items() if node in here]})

        asked = grid.ask_nodes(OWN, part, nodes.values())
    if asked is None:
        found = _measure(federation.folder, federation.task, federation.model, devices, before, after)
        return lambda: found

    def wait() -> dict[str, BeforeAndAfter]:
        return {device: (one, other) for told in asked() for device, (one, other) in decode(told).items()}

    return wait


def measure_part(part: bytes) -> bytes:
    """In a process of devices: measure those that are asked for."""
    asked: dict[str, Any] = decode(part)
    folder, worker = RunFolder(Path(asked["run"])), process_worker()
    task = worker.task(folder.scenario.task, folder.scenario.model)
    model = worker.model(folder.scenario.model, asked["model"], task)
    given = from_bytes(asked["before"]), from_bytes(asked["after"])
    return encode(
        {device: list(two) for device, two in _measure(folder, task, model, asked["devices"], *given).items()}
    )


def _measure(
    folder: RunFolder,
    task: Task,
    model: LocalModel,
    devices: Sequence[str],
    before: Float32Array,
    after: Float32Array,
) -> dict[str, BeforeAndAfter]:
    found: dict[str, BeforeAndAfter] = {}
    for device in devices:
        inputs, y = process_worker().local_inputs(device, task, model)
        public = evaluate(model.logits(before, inputs), y).accuracy
        if isinstance(model, PersonalModel):
            head = model.read_head(folder.path / "fleet" / device)
            found[device] = public, evaluate(model.logits(after, inputs, head), y).accuracy
        else:
            found[device] = public, evaluate(model.logits(after, inputs), y).accuracy
    return found
