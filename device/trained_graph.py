"""The float network that a run trained, from example to scores: what its deliverable was quantized from."""

from dataclasses import replace
from pathlib import Path

from safetensors.numpy import load

from skerry.config import Scenario
from skerry.device.basemodel import BaseModel
from skerry.device.compression.graph import Graph, Node
from skerry.device.deliverable import ROWS, head_layer
from skerry.device.model_source import read_onnx
from skerry.device.tasks.registry import load_task

__all__ = ["trained_graph"]


def trained_graph(scenario: Scenario, digest: str, folder: Path, store: Path | None = None) -> Graph:
    """The graph of a run's final weights.

    Args:
        scenario: the run's.
        digest: of its base, which must be on this machine.
        folder: where its deliverable lies.
        store: where base models lie; None for the default.

    Raises:
        InputError: the base is not on this machine, or the task's data cannot be read.
        RefusedError: the base was altered.
    """
    if scenario.model.trainable == "head":
        base = BaseModel.load(digest, store)
        features, _ = read_onnx(base.file(32))
        weight = load((folder / "head.safetensors").read_bytes())["head.weight"]
        rows, cut = ROWS
        last = (
            Node("linear", rows, (features.output,), *base.whitening.layer),
            Node("clip_norm", cut, (rows,), bound=base.whitening.bound),
            Node("linear", "scores", (cut,), *head_layer(base, weight.ravel())),
        )
        return replace(features, nodes=(*features.nodes, *last), classes=base.classes)
    from skerry.device.network_model import NetworkModel

    model = NetworkModel(scenario.model, digest, load_task(scenario.task, scenario.model), store)
    return model.graph(model.layout.join(load((folder / "trained.safetensors").read_bytes())))
