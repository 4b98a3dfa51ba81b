"""The figures of a finished run, each computed once from what the run left on disk or in memory."""

import importlib.metadata
import platform
import resource
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from skerry import __version__
from skerry.device.evaluation.spread import spread_of
from skerry.device.state import DeviceHome
from skerry.device.tasks.metrics import Quality, evaluate
from skerry.records import Float32Array, RoundRecord
from skerry.server.backdoor import backdoor_success
from skerry.server.federation import Federation
from skerry.server.own_accuracy import own_accuracies

__all__ = ["Measured", "cost", "defence", "device_accuracies", "measure_quality", "versions"]

PACKAGES = ("flwr", "numpy", "onnxruntime", "cryptography", "torch", "opacus", "dp-accounting", "ray")
MOST_MEASURED = 40
"""Training devices whose own accuracy a simulation measures: a report shows no more, and in a large fleet it takes as
long as training."""


@dataclass(frozen=True)
class Measured:
    """Quality of one vector on held-out devices.

    ``deployed`` is through the artefact that devices get: int8 where the base is quantized, else float.
    """

    deployed: Quality
    floating: Quality
    quantized: Quality | None
    agreement: float | None
    by_device: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """The ``base`` or ``final`` block of ``result.json``."""
        return {
            **self.deployed.__dict__,
            "float": dict(self.floating.__dict__),
            "int8": dict(self.quantized.__dict__) if self.quantized else None,
            "per_device": asdict(spread_of(list(self.by_device.values()))),
        }


def measure_quality(federation: Federation, vector: Float32Array) -> Measured:
    """Evaluate a vector on every held-out example, through int8 and float32."""
    deployed = federation.held_out.scores(vector, "deployed")
    labels = np.concatenate([y for _, y in deployed.values()])
    by_device = {device: evaluate(scores, y).accuracy for device, (scores, y) in deployed.items()}
    found = np.concatenate([scores for scores, _ in deployed.values()])
    quality = evaluate(found, labels)
    if not federation.model.quantized:
        return Measured(quality, quality, None, None, by_device)
    floating = np.concatenate([scores for scores, _ in federation.held_out.scores(vector, "float").values()])
    agreement = float(np.mean(floating.argmax(1) == found.argmax(1)))
    return Measured(quality, evaluate(floating, labels), quality, agreement, by_device)


def defence(federation: Federation, verdicts: list[dict[str, Any]], vector: Float32Array) -> dict[str, Any]:
    """How the defence did, now that the run is over and the simulation may tell who was hostile."""
    scenario = federation.scenario
    attackers = sorted(device for device in federation.nodes if _hostile(federation, device))
    taken_part: dict[str, int] = {}
    caught: dict[str, int] = {}
    quarantined = federation.screener.quarantined - set(federation.excluded)
    for verdict in verdicts:
        device = verdict["device"]
        taken_part[device] = taken_part.get(device, 0) + 1
        if verdict["action"] not in {"accept", "clip"} and verdict["scores"]:
            caught[device] = caught.get(device, 0) + 1
    flagged = sorted(quarantined | {d for d, n in caught.items() if 2 * n > taken_part[d]})
    hits = len(set(flagged) & set(attackers))
    return {
        "aggregator": scenario.defence.aggregator,
        "tolerate": scenario.defence.tolerate,
        "screen": list(federation.choice.names),
        "attack": "unknown" if not federation.simulated else scenario.attack.kind if attackers else "none",
        "attackers": attackers,
        "flagged": flagged,
        "quarantined": sorted(quarantined),
        "excluded": list(federation.excluded),
        "precision": hits / len(flagged) if flagged and federation.simulated else None,
        "recall": hits / len(attackers) if attackers else None,
        "false_quarantines": len(quarantined - set(attackers)) if federation.simulated else None,
        "backdoor_success": backdoor_success(scenario, federation.task, federation.model, vector),
        "backdoor_success_base": backdoor_success(
            scenario, federation.task, federation.model, federation.model.initial()
        ),
        "note": "A device is flagged when it was quarantined, or dropped by a detector in most of its rounds. "
        + federation.choice.said,
    }


def _hostile(federation: Federation, device: str) -> bool:
    """Whether the simulation made it so; of a real device nobody knows."""
    return federation.simulated and DeviceHome.is_hostile(federation.folder.path / "fleet" / device)


def cost(records: list[RoundRecord], devices: Mapping[str, float], wall_s: float) -> dict[str, Any]:
    """Time, bytes and memory of the run on this machine.

    ``stages`` are seconds over all rounds. Where devices ran in this very process (the in-process engine), what they
    did while the coordinator was collecting is listed as ``device: …`` and taken out of ``collect``. What earlier
    processes of a resumed run used is not known here, but for the rounds that they finished.
    """
    stages: dict[str, float] = {}
    for record in records:
        for stage, seconds in record.seconds.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    if "collect" in stages and sum(devices.values()) <= stages["collect"]:
        stages["collect"] -= sum(devices.values())
        stages |= {f"device: {stage}": seconds for stage, seconds in devices.items()}
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "wall_s": wall_s,
        "compute_s": usage.ru_utime + usage.ru_stime,
        "bytes_up": sum(r.bytes_up for r in records),
        "bytes_down": sum(r.bytes_down for r in records),
        "peak_rss_mb": usage.ru_maxrss / 1024,
        "stages": stages,
    }


def versions() -> Mapping[str, str | None]:
    """What this run was made with."""
    found: dict[str, str | None] = {"skerry": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package.replace("-", "_")] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package.replace("-", "_")] = None
    return found


def device_accuracies(
    federation: Federation, initial: Float32Array, final: Float32Array
) -> Callable[[], dict[str, dict[str, Any]]]:
    """Accuracy on devices' own data before and after; training devices only because this is a simulation.

    Of more than :data:`MOST_MEASURED` training devices so many are measured, evenly spaced in the order of their names.
    It is begun with the call; what is returned waits for it (:func:`~skerry.server.own_accuracy.own_accuracies`).
    """
    names = sorted(federation.nodes) if federation.simulated else []
    measured = names[:: max(1, -(-len(names) // MOST_MEASURED))]
    held_out = federation.held_out.devices
    training = own_accuracies(federation, [one for one in measured if one not in held_out], initial, final)

    def wait() -> dict[str, dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = {}
        seen = [federation.held_out.scores(vector, "training") for vector in (initial, final)]
        for device in held_out:
            before, after = (evaluate(*scores[device]).accuracy for scores in seen)
            rows[device] = {"role": "held_out", "before": before, "after": after, "note": "never trains"}
        for device, (before, after) in training().items():
            note = "simulation only: a real device never reports this"
            rows[device] = {"role": "training", "before": before, "after": after, "note": note}
        return dict(sorted(rows.items()))

    return wait
