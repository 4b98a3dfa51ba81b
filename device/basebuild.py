"""Making the base of a head, on the server, from published weights and public data only.

1. *network*: published weights, or trained on public data; norms folded, traced to a graph
   (:mod:`skerry.device.basegraph`), written as float32 ONNX;
2. *quantize*: int8, calibrated on public examples, with steps of sums that leave no tie (:mod:`skerry.device.ties`);
3. *features*: of the public examples, through the network that devices will run;
4. *whiten*: a PCA of those features, half whitened, and the longest row (:mod:`skerry.device.whitening`);
5. *head*: logistic regression on these public features, its weight decay chosen on a public validation part.

No private example takes part in any step, so none of them spends privacy.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from skerry.canonical import sha256_hex
from skerry.config import ModelConfig
from skerry.device.basegraph import feature_graph, published_graph, source_facts
from skerry.device.basemodel import HEAD, SCHEMA, BaseModel
from skerry.device.calibration import calibration_examples
from skerry.device.compression.graph import Graph
from skerry.device.models import architecture
from skerry.device.pooled import on_grid
from skerry.device.runtime import OnnxModel
from skerry.device.store import find_or_build, model_store, write_manifest
from skerry.device.tasks.task import Task
from skerry.device.training.public_head import fit_public_head
from skerry.device.whitening import fit_whitening
from skerry.errors import MissingDependencyError
from skerry.fsio import write_atomic
from skerry.records import Examples, Float32Array

if TYPE_CHECKING:
    from skerry.device.compression.quantize import Quantization

__all__ = ["BUILD", "build_base", "export_networks"]

BUILD = 6
"""Raised whenever a change of this code changes what is built."""
BIAS = 0.3

Progress = Callable[[str], None]


def build_base(
    model: ModelConfig, task: Task, progress: Progress = lambda _: None, store: Path | None = None
) -> BaseModel:
    """Build the base of this configuration on the task's public data, or find the one built before.

    Args:
        model: architecture, its blocks and grid, bits and PCA components.
        task: gives public data, classes and the input transform.
        progress: is told each stage's name.
        store: where base models lie; None for the default.

    Raises:
        MissingDependencyError: torch, onnx or the weights package is not installed.
        ScenarioError: the architecture is not declared.
        RunFailedError: a sum of the quantized network cannot be made to round alike in all runtimes (``ties.py``).
    """
    store = store or model_store()
    declared = architecture(model.architecture)
    progress("reading public data")
    public = task.public_data()
    facts: dict[str, Any] = {
        "schema": SCHEMA,
        "build": BUILD,
        "architecture": declared.name,
        **source_facts(model, labelled=bool((public.y >= 0).any())),
        "input_shape": list(task.input_shape),
        "bits": model.bits,
        "blocks": model.blocks,
        "grid": model.grid,
        "components": model.components,
        "classes": list(task.classes),
        "public": sha256_hex(np.ascontiguousarray(public.x).tobytes() + public.y.tobytes()),
        "bias": BIAS,
    }

    def build(out: Path) -> str:
        return _build(facts, model, task, public, out, progress, store)

    return find_or_build(facts, store, BaseModel.load, build)


def export_networks(name: str, size: int, calibration: Float32Array, out: Path, *, classifier: bool) -> None:
    """Write ``base.fp32.onnx`` and ``base.int8.onnx`` of an architecture with its published weights.

    Args:
        name: a declared architecture.
        size: input pixels, square.
        calibration: ``(n, 3, size, size)`` transformed public pictures.
        out: an existing folder.
        classifier: end with the published classifier instead of pooled features.
    """
    _export(published_graph(name, size, classifier=classifier), calibration, out, clear=False)


def _export(graph: Graph, calibration: Float32Array, out: Path, *, clear: bool) -> "Quantization":
    try:
        from skerry.device.compression.onnx_export import to_onnx
        from skerry.device.compression.quantize import quantize
        from skerry.device.ties import clear_of_ties
    except ImportError as error:
        raise MissingDependencyError(
            f"building a base model needs {error.name}", where="the base model", mend="pip install 'skerry[train]'"
        ) from error
    write_atomic(out / "base.fp32.onnx", to_onnx(graph).SerializeToString(), durable=False)
    found = quantize(graph, calibration)
    if clear:
        found = clear_of_ties(graph, found)
    write_atomic(out / "base.int8.onnx", to_onnx(graph, found).SerializeToString(), durable=False)
    return found


def _build(
    facts: dict[str, Any],
    model: ModelConfig,
    task: Task,
    public: Examples,
    out: Path,
    progress: Progress,
    store: Path,
) -> str:
    graph = feature_graph(model, task, public, progress, store)
    progress("exporting and quantizing")
    quantization = _export(graph, calibration_examples(task), out, clear=True)
    step = _step(graph, quantization) if model.bits == 8 else 0.0
    progress("features of public data")
    network = OnnxModel(out / ("base.int8.onnx" if model.bits == 8 else "base.fp32.onnx"), workers=os.cpu_count() or 1)
    pooled = np.concatenate([network.run(task.transform(public.x[i : i + 256])) for i in range(0, len(public), 256)])
    pooled = on_grid(pooled, step)
    progress("whitening and first head")
    whitening = fit_whitening(pooled, model.components)
    initial = fit_public_head(whitening.rows(pooled, BIAS), public.y, len(task.classes))
    parts: dict[str, npt.NDArray[Any]] = {"values": whitening.values, "scale": whitening.scale}
    tensors = {"mean": whitening.mean, **parts, "initial": initial}
    write_atomic(out / HEAD, save(tensors), durable=False)
    return write_manifest(out, {**facts, "longest_row": whitening.bound, "step": step})


def _step(graph: Graph, quantization: "Quantization") -> float:
    """What pooled features are whole multiples of; 0 where they are not means of a map of integers."""
    last = graph.nodes[-1]
    scale = quantization.tensors.get(last.inputs[0]) if last.op == "pool" else None
    if scale is None:
        return 0.0
    _, height, width = graph.shapes[last.inputs[0]]
    down, across = last.grid
    return scale.step / (height // down * (width // across))
