"""Networks trained on public data, kept in skerry's home so that a benchmark trains each of them once.

A checkpoint is a graph file named by everything that it depends on; a changed setting, data set or torch trains anew.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import torch

from skerry.canonical import sha256_hex
from skerry.config import ModelConfig, TaskConfig
from skerry.device.calibration import calibration_examples
from skerry.device.compression.graph import Graph
from skerry.device.compression.graph_file import load_graph, save_graph
from skerry.device.compression.onnx_export import to_onnx
from skerry.device.compression.trace import trace
from skerry.device.models import architecture, build_network
from skerry.device.models.folding import fold_norms
from skerry.device.runtime import OnnxModel
from skerry.device.tasks.registry import load_task
from skerry.device.tasks.task import Task
from skerry.device.training.augment import ShiftAndFlip
from skerry.device.training.central import TrainingProgress, train_centrally
from skerry.errors import InputError
from skerry.fsio import home
from skerry.records import Examples, Float32Array

TASKS = ("digits", "fashion")
PUBLISHED, NEW = (5, 0.02), (12, 0.1)  # epochs and learning rate, from published weights and from none
NETWORKS = ("efficientnet_lite0", "mobilenet_v2")
SIZE = 32


@dataclass(frozen=True)
class Settings:
    """What a checkpoint's weights depend on."""

    network: str
    task: str
    epochs: int
    learning_rate: float
    size: int = SIZE
    batch: int = 64
    seed: int = 0
    torch: str = torch.__version__


@dataclass(frozen=True)
class Checkpoint:
    """A trained float network, and the task it was trained for."""

    settings: Settings
    task: Task
    graph: Graph

    @cached_property
    def calibration(self) -> Float32Array:
        """Transformed public examples."""
        return calibration_examples(self.task)

    @cached_property
    def held_out(self) -> tuple[Float32Array, np.ndarray]:
        """Transformed examples of holders that never train, at most 2,000, and their classes."""
        x, y = self.all_held_out
        rows = np.unique(np.linspace(0, len(y) - 1, min(2000, len(y))).round().astype(int))
        return x[rows], y[rows]

    @cached_property
    def all_held_out(self) -> tuple[Float32Array, np.ndarray]:
        """The same, all of them."""
        data = Examples.concatenate(list(self.task.evaluation().values()))
        return self.task.transform(data.x), data.y

    @cached_property
    def float_classes(self) -> np.ndarray:
        """What the float network says of all held-out examples."""
        return OnnxModel(to_onnx(self.graph).SerializeToString()).run(self.all_held_out[0]).argmax(1)


def checkpoint(network: str, task: str, progress: Callable[[str], None]) -> Checkpoint:
    """The checkpoint of a network on a task: found, or trained for some minutes."""
    published = architecture(network).package is not None
    settings = Settings(network, task, *(PUBLISHED if published else NEW))
    model = ModelConfig(architecture=network, input_size=SIZE)
    loaded = load_task(TaskConfig(name=task), model)
    key = sha256_hex(json.dumps({**asdict(settings), "data": loaded.identity()}, sort_keys=True).encode())
    path = home() / "benchmarks" / f"{network}-{task}-{key[:16]}.safetensors"
    try:
        return Checkpoint(settings, loaded, load_graph(path))
    except InputError:
        progress(f"{network} on {task}: training")
    graph = _train(settings, loaded, published, progress)
    save_graph(graph, path)
    return Checkpoint(settings, loaded, graph)


def _train(settings: Settings, task: Task, published: bool, progress: Callable[[str], None]) -> Graph:
    data = _training_data(task)
    classes = len(task.classes)
    module = build_network(settings.network, inputs=task.input_shape, classes=classes, seed=settings.seed)
    if published:
        known = architecture(settings.network).load(settings.size, classifier=False).state_dict()
        module.load_state_dict(known, strict=False)
        module.requires_grad_(requires_grad=True)
    shown = [-1]

    def tell(now: TrainingProgress) -> None:
        tenth = 10 * now.done // now.of
        if tenth != shown[0]:
            shown[0] = tenth
            progress(f"{settings.network} on {settings.task}: {10 * tenth} %, loss {now.loss:.3f}")

    train_centrally(
        module,
        task.transform(data.x),
        data.y,
        epochs=settings.epochs,
        batch_size=settings.batch,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
        augment=ShiftAndFlip(2),
        progress=tell,
    )
    return trace(fold_norms(module.eval()), task.input_shape, tuple(task.classes))


def _training_data(task: Task) -> Examples:
    """Labelled public examples; where nobody gives any, those of all who train: what is measured is no private run."""
    public = task.public_data()
    labelled = public.y >= 0
    if labelled.any():
        return public.select(np.flatnonzero(labelled))
    return Examples.concatenate([task.local_data(device) for device in task.devices()])
