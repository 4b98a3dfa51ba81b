"""The figures of a finished run, each computed once from what the run left on disk or in memory."""

import importlib.metadata
import platform
import resource
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from skerry import __version__
from skerry.config import Scenario
from skerry.device.evaluation.spread import spread_of
from skerry.device.personal import PersonalModel
from skerry.device.state import DeviceHome
from skerry.device.tasks.metrics import Quality, evaluate
from skerry.device.worker import process_worker
from skerry.records import Float32Array, RoundRecord
from skerry.security.privacy.accounting import GaussianEvent, epsilon_pld
from skerry.security.privacy.verification import read_ledger
from skerry.server.backdoor import backdoor_success
from skerry.server.evaluate import scores_of
from skerry.server.federation import Federation

__all__ = ["Measured", "cost", "defence", "device_accuracies", "measure_quality", "privacy", "versions"]

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
    deployed = {device: scores_of(federation, vector, device, "deployed") for device in federation.held_out}
    labels = np.concatenate([y for _, y in deployed.values()])
    by_device = {device: evaluate(scores, y).accuracy for device, (scores, y) in deployed.items()}
    found = np.concatenate([scores for scores, _ in deployed.values()])
    quality = evaluate(found, labels)
    if not federation.model.quantized:
        return Measured(quality, quality, None, None, by_device)
    floating = np.concatenate([scores_of(federation, vector, device, "float")[0] for device in federation.held_out])
    agreement = float(np.mean(floating.argmax(1) == found.argmax(1)))
    return Measured(quality, evaluate(floating, labels), quality, agreement, by_device)


def privacy(federation: Federation) -> dict[str, Any]:
    """What each device's own ledger says was spent, in RDP and by replay with PLD.

    Device level: the figures of the run are the population's, whose ledger debits every round for every device; a
    device that was never drawn has nothing in its own.
    """
    scenario = federation.scenario
    config = scenario.privacy
    private = config.unit != "none"
    devices: dict[str, dict[str, Any]] = {}
    replayed: dict[tuple[GaussianEvent, ...], float] = {}
    for device in sorted(federation.nodes):
        path = federation.folder.path / "ledger" / "devices" / f"{device}.jsonl"
        account = read_ledger(path)  # whoever holds it may go on holding it
        events = tuple(account.spending.events())
        if events not in replayed:
            replayed[events] = epsilon_pld(events, config.delta) if events else 0.0
        devices[device] = {
            "epsilon_rdp": account.spending.epsilon(account.policy.delta) if private else None,
            "epsilon_pld": replayed[events] if private else None,
            "rounds": account.debits,
            "head": account.last.hash,
        }
    rdp = [d["epsilon_rdp"] for d in devices.values()]
    pld = [d["epsilon_pld"] for d in devices.values()]
    largest_rdp, largest_pld = (max(rdp), max(pld)) if private else (None, None)
    if config.unit == "device":
        largest_rdp = federation.ledger.epsilon()
        largest_pld = epsilon_pld(federation.ledger.events(), config.delta)
    return {
        "unit": config.unit,
        "relation": "add/remove" if private else None,
        "delta": config.delta if private else None,
        "epsilon_budget": config.epsilon if private else None,
        "epsilon_rdp": largest_rdp,
        "epsilon_pld": largest_pld,
        "noise_multiplier": federation.plan.noise_multiplier if private else None,
        "mechanism": config.mechanism if private else None,
        "sampling": _cohorts(scenario) if config.unit == "device" else _sampling(config.sampling_rate),
        "devices": {
            "max": max(rdp) if private else None,
            "median": statistics.median(rdp) if private else None,
            "per_device": devices,
        },
        "audit": None,
        "assumptions": _assumptions(config.unit, config.engine),
        "simulated": True,
    }


def _sampling(rate: float) -> str:
    if rate == 1:
        return "none: every step uses the device's whole data, and no amplification is claimed"
    return f"Poisson: each example takes part in a step with probability {rate:g}, drawn on the device in secret"


def _cohorts(scenario: Scenario) -> str:
    if scenario.privacy.mechanism == "matrix_factorization":
        apart = scenario.privacy.min_separation
        return f"none: a device takes part in at most one of any {apart} rounds, and its own ledger refuses more"
    if scenario.cohort.rate is None:
        return "none: every device is asked in every round, and no amplification is claimed"
    return (
        f"Poisson: each device takes part in a round with probability {scenario.cohort.rate:g},"
        " drawn by the coordinator in secret"
    )


def _assumptions(unit: str, engine: str) -> list[str]:
    if unit == "none":
        return ["No privacy was asked for: updates carry no noise."]
    sentences = _SENTENCES[unit] + (_ENGINES[engine] if unit == "example" else "") + _BOTH
    return [" ".join(sentence.split()) for sentence in sentences.strip().split("\n\n")]


_SENTENCES = {
    "example": """
The figure bounds what any observer of all messages of one device, over the whole run, learns about one example of
that device, when the example is added or removed; other devices' data are independent of it.

A compromised device protects nothing but itself: the guarantee is for devices that run this software.
""",
    "device": """
The figure bounds what anybody who sees the models of all rounds learns about one whole device, when all that it
contributes is added or removed.

The coordinator is trusted: it sees each update as it is, clips it and adds the noise. Whoever reads the updates with it
is not bounded by the figure.

Where cohorts are drawn at random, who takes part must stay secret: whoever watches the traffic knows it, and the figure
that bounds them is that of taking part in every round.

What a device's own ledger debits is what the coordinator promised in its signed instruction: the device cannot see the
noise being added.
""",
}
_ENGINES = {
    "skerry": """
Each example's gradient is computed by itself, so that no bit of it depends on other examples, and its length is checked
in integers.
""",
    "bookkeeping": """
Gradients are computed in batches of one fixed shape: the figure assumes that the kernels of a device treat all places
of such a batch alike. Each device checks this to the last bit on made-up examples before it trains, and refuses where
it does not hold; it is not proved. The length of each example's gradient is checked in integers.
""",
    "opacus": """
Gradients are computed by Opacus in batches of varying size: last bits of an example's gradient may depend on other
examples, which the figure does not count. The length of each example's gradient is checked in integers.
""",
}
_BOTH = """

ε_RDP is the proved figure for the integer (discrete Gaussian) mechanism; ε_PLD is that of the continuous Gaussian
with the same noise multiplier, composed by privacy loss distributions.

This was a simulation with seeded noise: whoever knows the seed can remove it. A real device draws its noise from the
operating system and refuses a seed.

Time, size and presence of messages are not hidden.
"""


def defence(federation: Federation, verdicts: list[dict[str, Any]], vector: Float32Array) -> dict[str, Any]:
    """How the defence did, now that the run is over and the simulation may tell who was hostile."""
    scenario = federation.scenario
    attackers = sorted(
        device
        for device in federation.nodes
        if DeviceHome.load(federation.folder.path / "fleet" / device).hostile is not None
    )
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
        "attack": scenario.attack.kind if attackers else "none",
        "attackers": attackers,
        "flagged": flagged,
        "quarantined": sorted(quarantined),
        "excluded": list(federation.excluded),
        "precision": hits / len(flagged) if flagged else None,
        "recall": hits / len(attackers) if attackers else None,
        "false_quarantines": len(quarantined - set(attackers)),
        "backdoor_success": backdoor_success(scenario, federation.task, federation.model, vector),
        "backdoor_success_base": backdoor_success(
            scenario, federation.task, federation.model, federation.model.initial()
        ),
        "note": "A device is flagged when it was quarantined, or dropped by a detector in most of its rounds. "
        + federation.choice.said,
    }


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


def device_accuracies(federation: Federation, initial: Float32Array, final: Float32Array) -> dict[str, dict[str, Any]]:
    """Accuracy on devices' own data before and after; training devices only because this is a simulation.

    Of more than :data:`MOST_MEASURED` training devices so many are measured, evenly spaced in the order of their names.
    """
    notes = {"training": "simulation only: a real device never reports this", "held_out": "never trains"}
    names = sorted(federation.nodes)
    measured = names[:: max(1, -(-len(names) // MOST_MEASURED))]
    roles = dict.fromkeys(measured, "training") | dict.fromkeys(federation.held_out, "held_out")
    return {
        device: {
            "role": role,
            "before": _accuracy(federation, initial, device, own_head=False),
            "after": _accuracy(federation, final, device, own_head=True),
            "note": notes[role],
        }
        for device, role in sorted(roles.items())
    }


def _accuracy(federation: Federation, vector: Float32Array, device: str, *, own_head: bool) -> float:
    model = federation.model
    if device in federation.held_out:
        return evaluate(*scores_of(federation, vector, device, "training")).accuracy
    inputs, y = process_worker().local_inputs(device, federation.task, model)
    if own_head and isinstance(model, PersonalModel):
        head = model.read_head(federation.folder.path / "fleet" / device)
        return evaluate(model.logits(vector, inputs, head), y).accuracy
    return evaluate(model.logits(vector, inputs), y).accuracy
