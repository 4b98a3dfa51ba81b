"""The float network that a base is made of, from example to pooled features, norms folded.

* *published weights* where a package has them for this architecture: nothing is trained. For grey pictures the first
  convolution's channels are added up, which is exactly what it computes of a grey picture in three channels.
* *else* random weights from a fixed seed, trained on the task's labelled public data; where there are none, the norms
  take their statistics from unlabelled public examples, so that every layer's output has unit variance when they are
  folded (a data-dependent initialisation, Mishkin & Matas, arXiv:1511.06422).

No private example takes part.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skerry.canonical import digest, sha256_hex
from skerry.config import ModelConfig
from skerry.device.calibration import spread
from skerry.device.compression.graph import Graph
from skerry.device.models import architecture
from skerry.device.models.published import weights_file
from skerry.device.store import model_store
from skerry.device.tasks.task import Task
from skerry.errors import InputError, MissingDependencyError, ScenarioError
from skerry.records import Examples, Float32Array

if TYPE_CHECKING:
    from torch import nn

__all__ = ["feature_graph", "is_published", "published_graph", "source_facts"]

BUILD = 1
"""Raised whenever a change of this code changes what is trained."""
SEED = 0
_LEARNING_RATE = 0.1
_BATCH = 128
_STATISTICS = 512  # examples from which norms take their statistics

Progress = Callable[[str], None]


def is_published(model: ModelConfig) -> bool:
    """Whether a package has weights for this network."""
    return architecture(model.architecture).package is not None and model.width == 1.0


def source_facts(model: ModelConfig, *, labelled: bool) -> dict[str, Any]:
    """Where the weights come from, as ``base.json`` says it.

    Raises:
        MissingDependencyError: the package with published weights is not installed.
    """
    if not is_published(model):
        trained = {"epochs": model.pretrain_epochs} if labelled else {}
        return {"weights": f"seed {SEED}", "width": model.width, **trained}
    return {"weights": sha256_hex(weights_file(model.architecture).read_bytes())}


def published_graph(name: str, size: int, *, classifier: bool) -> Graph:
    """An architecture with its published weights: ``(3, size, size)`` to pooled features or to published classes.

    Raises:
        MissingDependencyError: torch or the weights package is not installed.
    """
    try:
        import torch

        from skerry.device.compression.trace import trace
        from skerry.device.models.folding import fold_norms
    except ImportError as error:
        raise _needs(error) from error
    torch.set_num_threads(1)
    return trace(fold_norms(architecture(name).load(size, classifier)), (3, size, size))


def feature_graph(
    model: ModelConfig, task: Task, public: Examples, progress: Progress = lambda _: None, store: Path | None = None
) -> Graph:
    """The float graph of this configuration, ending in pooled features.

    Args:
        model: architecture, width, blocks and grid, and epochs of training where no weights are published.
        task: gives the input's shape and transform, and the classes.
        public: its public data.
        progress: is told what is done.
        store: where what was trained is kept; None for the default.

    Raises:
        MissingDependencyError: torch or the weights package is not installed.
        ScenarioError: the architecture is not declared, or has no such features.
        InputError: the input is too small for it, or not of a kind that it takes.
    """
    graph = _whole(model, task, public, progress, store)
    if not model.blocks and model.grid == 1:
        return graph
    from skerry.device.compression.cuts import features_of

    return features_of(graph, model.blocks, model.grid)


def _whole(model: ModelConfig, task: Task, public: Examples, progress: Progress, store: Path | None) -> Graph:
    channels, height, width = task.input_shape
    if is_published(model):
        if height != width or channels not in {1, 3}:
            raise ScenarioError(
                f"{model.architecture} with published weights takes square pictures, not {task.input_shape}",
                where="model.architecture",
                mend="for windows of sensors choose ds_cnn",
            )
        graph = published_graph(model.architecture, width, classifier=False)
        return _grey(graph) if channels == 1 else graph
    try:
        import torch

        from skerry.device.compression.graph_file import load_graph, save_graph
        from skerry.device.compression.trace import trace
        from skerry.device.models.folding import fold_norms
    except ImportError as error:
        raise _needs(error) from error
    kept = (store or model_store()) / "graphs" / f"{_key(model, task, public)}.safetensors"
    try:
        return load_graph(kept)
    except InputError:
        pass  # never made, or damaged: make it
    torch.set_num_threads(1)
    graph = trace(fold_norms(_own(model, task, public, progress).eval()), task.input_shape)
    if graph.nodes[-1].op == "linear":
        graph = replace(graph, nodes=graph.nodes[:-1], classes=())
    save_graph(graph, kept)
    return graph


def _key(model: ModelConfig, task: Task, public: Examples) -> str:
    return digest(
        {
            "build": BUILD,
            "architecture": model.architecture,
            "width": model.width,
            "epochs": model.pretrain_epochs,
            "input_shape": list(task.input_shape),
            "classes": list(task.classes),
            "public": sha256_hex(np.ascontiguousarray(public.x).tobytes() + public.y.tobytes()),
        }
    )


def _own(model: ModelConfig, task: Task, public: Examples, progress: Progress) -> "nn.Module":
    """A network from a seed, trained on labelled public data where there are any."""
    from skerry.device.models import build_network

    labelled = public.select(public.y >= 0)
    classes = len(task.classes) if len(labelled) and model.pretrain_epochs else None
    network: nn.Module = build_network(
        model.architecture, inputs=task.input_shape, classes=classes, width=model.width, seed=SEED
    )
    measured = task.transform(public.x[spread(_STATISTICS, len(public))])
    if classes is None:
        return _with_statistics(network, measured)
    from skerry.device.training.central import train_centrally

    progress(f"training {model.architecture} on {len(labelled)} public examples")
    train_centrally(
        network,
        task.transform(labelled.x),
        labelled.y,
        epochs=model.pretrain_epochs,
        batch_size=min(_BATCH, len(labelled)),
        learning_rate=_LEARNING_RATE,
        seed=SEED,
    )
    return _with_statistics(network, measured)  # the running ones lag behind when there were few steps


def _with_statistics(network: "nn.Module", x: Float32Array) -> "nn.Module":
    """The network with norms whose statistics are those of these examples."""
    import torch
    from torch import nn

    network = network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # cumulative: the statistics of this one batch
            module.reset_running_stats()
    with torch.no_grad():
        network(torch.from_numpy(np.ascontiguousarray(x)))
    return network


def _grey(graph: Graph) -> Graph:
    """The same network for one channel that stands for three equal ones."""
    nodes = tuple(
        replace(node, weight=node.weight.sum(1, keepdims=True))
        if graph.input in node.inputs and node.weight is not None
        else node
        for node in graph.nodes
    )
    return replace(graph, input_shape=(1, *graph.input_shape[1:]), nodes=nodes)


def _needs(error: ImportError) -> MissingDependencyError:
    return MissingDependencyError(
        f"building a base model needs {error.name}", where="the base model", mend="pip install 'skerry[train]'"
    )
