"""What an export's card says, gathered from the kind of source."""

from collections.abc import Mapping
from typing import Any, Literal

from skerry.canonical import sha256_hex
from skerry.device.card import (
    UNKNOWN_USE,
    CardFile,
    ModelCard,
    federated_data,
    quantization_recipe,
    task_use,
)
from skerry.device.compression.graph import Graph
from skerry.device.model_source import ModelSource
from skerry.device.models import ARCHITECTURES

__all__ = ["describe", "graph_digest"]


def describe(source: ModelSource, graph: Graph, calibration: str | None, files: Mapping[str, CardFile]) -> ModelCard:
    """The card of an export.

    Args:
        source: what is exported.
        graph: its float network.
        calibration: what int8 files were calibrated on; None where there are none.
        files: what was written.
    """
    facts = source.facts
    name = str(facts.get("base", facts).get("architecture", "network"))
    declared = ARCHITECTURES.get(name)
    normalisation = declared.normalisation if declared else "not recorded in the file"
    return ModelCard(
        name=source.name,
        architecture={"name": name, "parameters": graph.parameters(), "macs": graph.macs()},
        digest=str(facts.get("digest") or facts.get("base", {}).get("digest") or graph_digest(graph)),
        input={"name": graph.input, "shape": ["n", *graph.input_shape], "normalisation": normalisation},
        output={"name": graph.output, "classes": list(graph.classes)},
        training_data=_training_data(source),
        privacy=_privacy(source),
        quality=_quality(source),
        quantization=None if calibration is None else quantization_recipe(calibration),
        intended_use=_use(source, graph),
        files=files,
        more=_origin(source),
    )


def graph_digest(graph: Graph) -> str:
    """SHA-256 over structure and weights, hexadecimal; the same for the same network, whatever file it is in."""
    parts = [repr((graph.input, graph.input_shape)).encode()]
    for node in graph.nodes:
        plain = {key: value for key, value in node.__dict__.items() if key not in {"weight", "bias"}}
        parts.append(repr(sorted(plain.items())).encode())
        parts += [part.tobytes() for part in (node.weight, node.bias) if part is not None]
    return sha256_hex(b"\0".join(parts))


def _training_data(source: ModelSource) -> str:
    facts = source.facts
    if source.kind == "run":
        return federated_data(facts["base"], facts.get("rounds"))
    if source.kind == "base":
        return (
            f"Published or public data only: weights {facts['weights']}, calibrated on public data {facts['public']}."
        )
    if source.kind == "network":
        trained = "ImageNet, by the network's authors" if facts["published"] else "none"
        return f"{trained}: {source.note}."
    return "Not recorded in the file."


def _privacy(source: ModelSource) -> Mapping[str, Any] | Literal["none", "unknown"]:
    if source.kind == "run":
        stated: Mapping[str, Any] = source.facts["privacy"]
        return stated
    return "none" if source.kind in {"base", "network"} else "unknown"


def _quality(source: ModelSource) -> Mapping[str, Any] | None:
    quality: Mapping[str, Any] | None = source.facts.get("quality") if source.kind == "run" else None
    return quality


def _use(source: ModelSource, graph: Graph) -> str:
    if source.kind == "run":
        return task_use(source.facts.get("scenario"))
    if source.kind == "base":
        if graph.classes:
            return "A start for fine-tuning on devices; its classifier has seen public data only."
        return "Features for a head that is fine-tuned on devices; it classifies nothing by itself."
    if source.kind == "network" and source.facts["published"] and graph.outputs == 1000:
        return "Classifying photographs into the 1,000 classes of ImageNet, and as a base for fine-tuning."
    if source.kind == "network":
        return "Measuring size and speed, or as a start for training: its outputs mean nothing."
    return UNKNOWN_USE


def _origin(source: ModelSource) -> dict[str, Any]:
    facts = source.facts
    if source.kind == "run":
        return {key: facts[key] for key in ("run", "scenario", "rounds", "base") if key in facts}
    if source.kind == "base":
        return {"base": {key: facts[key] for key in ("digest", "architecture", "bits", "weights", "public")}}
    return {"source": source.kind}
