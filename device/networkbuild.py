"""Making the base of a torch mode, on the server: a whole network, its int8 rounding, and the front of a tail.

1. *head base*: the features that devices run, as for ``head`` mode (:mod:`skerry.device.basebuild`);
2. *network*: the same float network with a whitening and a first head as its last two layers, fitted on public
   examples. Where neither weights are published nor public examples have labels there is nothing to fit them on: then
   the head reads the features themselves, and starts at zero;
3. *quantize*: int8 weights and activation steps, calibrated on public examples;
4. *front* (``tail`` only): the int8 network up to the cut, as ONNX.

No private example takes part in any step, so none of them spends privacy.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.config import ModelConfig
from skerry.device.basebuild import build_base
from skerry.device.basegraph import feature_graph, is_published
from skerry.device.basemodel import BaseModel
from skerry.device.calibration import calibration_examples, spread
from skerry.device.compression.graph import Graph, Node
from skerry.device.networkbase import CLASSIFIER, FRONT, NETWORK, QUANTIZATION, WHITEN, NetworkBase
from skerry.device.store import find_or_build, model_store, write_manifest
from skerry.device.tasks.task import Task
from skerry.device.training.public_head import fit_public_head
from skerry.errors import MissingDependencyError
from skerry.fsio import write_atomic
from skerry.records import Examples

__all__ = ["build_network_base"]

BUILD = 3
"""Raised whenever a change of this code changes what is built."""
_HEAD_EXAMPLES = 5000
_DEAD = 0.1  # share of the mean deviation that is added to each: a feature that hardly moves is not blown up

Progress = Callable[[str], None]


def build_network_base(
    model: ModelConfig, task: Task, progress: Progress = lambda _: None, store: Path | None = None
) -> NetworkBase:
    """Build the base of this configuration, or find the one built before.

    Args:
        model: architecture, mode, bits, and for ``tail`` how many blocks.
        task: gives public data, classes and the input transform.
        progress: is told each stage's name.
        store: where base models lie; None for the default.

    Raises:
        MissingDependencyError: torch, onnx or the weights package is not installed.
        ScenarioError: the architecture is not declared, or has fewer blocks than ``model.tail_blocks``.
        InputError: the input is too small for the architecture.
    """
    store = store or model_store()
    head = build_base(model, task, progress, store)
    facts: dict[str, Any] = {
        "schema": 1,
        "build": BUILD,
        "kind": "network",
        "head": {"digest": head.digest, **{k: head.facts[k] for k in ("architecture", "weights", "public")}},
        "input_shape": list(task.input_shape),
        "classes": list(task.classes),
        "bits": model.bits,
        "tail_blocks": model.tail_blocks if model.trainable == "tail" else None,
    }

    def build(out: Path) -> str:
        return _build(facts, model, task, head, out, progress, store)

    return find_or_build(facts, store, NetworkBase.load, build)


def _build(
    facts: dict[str, Any],
    model: ModelConfig,
    task: Task,
    head: BaseModel,
    out: Path,
    progress: Progress,
    store: Path,
) -> str:
    try:
        import onnx  # noqa: F401 - told now, not after minutes

        from skerry.device.compression.cuts import tail_start
        from skerry.device.compression.graph_file import save_graph
        from skerry.device.compression.quantization_file import save_quantization
        from skerry.device.compression.quantize import quantize
    except ImportError as error:
        raise MissingDependencyError(
            f"building a base model needs {error.name}", where="the base model", mend="pip install 'skerry[train]'"
        ) from error
    public = task.public_data()
    graph = feature_graph(model, task, public, progress, store)
    if is_published(model) or (public.y >= 0).any():
        progress("whitening and first head of the whole network")
        graph = _with_head(graph, head, task, public, model.components)
    else:
        graph = _with_plain_head(graph, task.classes)
    save_graph(graph, out / NETWORK)
    cut = tail_start(graph, model.tail_blocks) if model.trainable == "tail" else None
    quantization = None
    if model.bits == 8:
        progress("quantizing the whole network")
        quantization = quantize(graph, calibration_examples(task))
        save_quantization(quantization, out / QUANTIZATION)
    if cut is not None:
        write_atomic(out / FRONT[model.bits], _front(graph, quantization, cut), durable=False)
    return write_manifest(out, {**facts, "cut": cut})


def _with_head(features: Graph, base: BaseModel, task: Task, public: Examples, components: int) -> Graph:
    """The graph from example to scores, its head fitted on public examples seen through the deployed features.

    The whitening is milder than that of ``head`` mode: layers before it are trained through it, so no direction of the
    features may be stretched. Component i of the standardised features is divided by √(λᵢ + 1), where 1 is what a
    feature has on average: the strongest ones come out with unit variance, the weak ones stay as weak as they are.
    """
    chosen = public.select(spread(_HEAD_EXAMPLES, len(public)))
    pooled = np.concatenate([base.pooled(task.transform(chosen.x[i : i + 256])) for i in range(0, len(chosen), 256)])
    mean, deviation = pooled.mean(0, dtype=np.float64), pooled.std(0, dtype=np.float64)
    deviation += _DEAD * deviation.mean() + 1e-6
    standard = (pooled - mean) / deviation
    values, vectors = np.linalg.eigh(standard.T @ standard / len(standard))
    k = min(components, int((values > 1e-6 * values[-1]).sum()))
    values, vectors = values[::-1][:k], vectors[:, ::-1][:, :k]
    vectors *= np.sign(vectors[np.abs(vectors).argmax(0), np.arange(k)])  # the sign of an eigenvector is free: fix it
    projection = (vectors / np.sqrt(values + 1) / deviation[:, None]).T
    rows = (pooled - mean) @ projection.T
    scale = float(np.sqrt((rows**2).sum(1).mean()))  # the decays that are tried are meant for rows of length one
    inputs = np.c_[rows / scale, np.full(len(rows), base.bias)].astype(np.float32)
    first = fit_public_head(inputs, chosen.y, len(task.classes)).astype(np.float64)
    nodes = (
        _linear(WHITEN, features.output, projection, -projection @ mean),
        _linear(CLASSIFIER, WHITEN, first[:, :-1] / scale, first[:, -1] * base.bias),
    )
    return replace(features, nodes=(*features.nodes, *nodes), classes=task.classes)


def _with_plain_head(features: Graph, classes: tuple[str, ...]) -> Graph:
    weight = np.zeros((len(classes), features.outputs))
    head = _linear(CLASSIFIER, features.output, weight, np.zeros(len(classes)))
    return replace(features, nodes=(*features.nodes, head), classes=classes)


def _linear(name: str, source: str, weight: npt.NDArray[np.float64], bias: npt.NDArray[np.float64]) -> Node:
    return Node("linear", name, (source,), np.ascontiguousarray(weight, np.float32), bias.astype(np.float32))


def _front(graph: Graph, quantization: Any, cut: str) -> bytes:
    """ONNX from the input to the cut's activations, which stay uint8 where the network is quantized."""
    from onnx.shape_inference import infer_shapes
    from onnx.utils import Extractor

    from skerry.device.compression.onnx_export import to_onnx

    tensor = cut if quantization is None else f"{cut}.quantized"
    whole = infer_shapes(to_onnx(graph, quantization))
    model: bytes = Extractor(whole).extract_model([graph.input], [tensor]).SerializeToString()
    return model
