"""The steps of a compression: each takes a network and gives another.

*train* and *distil* put norms back, train, and fold them in again; *prune* removes channels; *bits* rounds weights to
two to eight bits; *int8* quantizes; *qat* trains the int8 network on the scales that it has. A network that was never
trained is trained as it was built, with the norms it was built with.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn

from skerry.config.recipe import BitsStep, DistilStep, PruneStep, QatStep, Recipe, Step, TrainStep
from skerry.device.calibration import spread
from skerry.device.compression.bits import allocate_bits, apply_bits, uniform_bits
from skerry.device.compression.fake_quant import FakeQuantGraphModule
from skerry.device.compression.graph import Graph
from skerry.device.compression.graph_file import load_graph
from skerry.device.compression.graph_module import GraphModule
from skerry.device.compression.norms import fold_graph, with_norms
from skerry.device.compression.packing import PackedGraph
from skerry.device.compression.prune import prune
from skerry.device.compression.quantize import Quantization, QuantizationRecipe, quantize
from skerry.device.compression.trace import trace
from skerry.device.models import build_network
from skerry.device.tasks.task import Task
from skerry.device.training.augment import ShiftAndFlip
from skerry.device.training.central import TrainingProgress, train_centrally
from skerry.device.training.precision import chosen_precision
from skerry.errors import InputError
from skerry.records import Float32Array

__all__ = ["State", "Steps"]

Progress = Callable[[TrainingProgress], None]


@dataclass(frozen=True)
class State:
    """A network between two steps.

    Attributes:
        graph: in float, norms folded.
        quantization: its int8 form, once there is one.
        uncompressed: the graph that was given in a file, or that before the first step that compresses: what others are
            compared with and learn from.
        packed: how its weights of few bits are stored, once they are; the graph then has these weights.
    """

    graph: Graph
    quantization: Quantization | None = None
    uncompressed: Graph | None = None
    packed: PackedGraph | None = None

    def before(self, step: Step) -> "State":
        """The same, with itself remembered as the uncompressed network when this step is the first to compress."""
        if isinstance(step, TrainStep) or self.uncompressed is not None:
            return self
        return replace(self, uncompressed=self.graph)


class Steps:
    """Takes a recipe's steps on its task's public data.

    Args:
        recipe: names the network and the seed.
        task: whose public examples train and calibrate.
    """

    def __init__(self, recipe: Recipe, task: Task) -> None:
        self._task, self._recipe, self._source, self._seed = task, recipe, recipe.model, recipe.seed

    def start(self) -> State | None:
        """The network in the recipe's file; None where the first step builds one.

        What would only fail in a later step is refused now.

        Raises:
            InputError: a file holds no network for this task, or a step wants a precision that is not here.
        """
        for step in self._recipe.steps:
            if isinstance(step, DistilStep | QatStep) and step.teacher is not None:
                _fitting(step.teacher, self._task)
            if isinstance(step, TrainStep | DistilStep):
                chosen_precision(step.precision)
        if self._source.file is None:
            return None
        given = _fitting(self._source.file, self._task)
        return State(given, uncompressed=given)

    def take(self, step: Step, state: State | None, number: int, progress: Progress) -> State:
        """The network after a step.

        Args:
            step: what to do.
            state: the network before it; None where there is none yet.
            number: of the step, from 0; part of the seed.
            progress: of training.

        Raises:
            InputError: the step cannot be taken on this network or these data.
            RunFailedError: training diverged.
        """
        if state is None:
            assert isinstance(step, TrainStep)  # the recipe's own rule
            return State(self._train_first(step, number, progress))
        if isinstance(step, PruneStep):
            return replace(state, graph=prune(state.graph, keep_macs=step.keep_macs, round_to=step.round_to).graph)
        if isinstance(step, TrainStep | DistilStep):
            return replace(state, graph=self._train(step, state, number, progress))
        if isinstance(step, QatStep):
            return self._train_rounded(step, state, number, progress)
        chosen = spread(step.calibration, len(self._public[0]))
        calibration = np.ascontiguousarray(self._public[0][chosen])
        if isinstance(step, BitsStep):
            return _with_bits(step, state, calibration)
        recipe = QuantizationRecipe(classifier=step.classifier)
        return replace(state, quantization=quantize(state.graph, calibration, recipe=recipe))

    @cached_property
    def _public(self) -> tuple[Float32Array, npt.NDArray[np.int64]]:
        data = self._task.public_data()
        if len(data) == 0:
            raise InputError(
                "the task has no public data: nothing can be trained or calibrated",
                where=f"task {self._task.name}",
                mend="name some (task.public, task.public_examples), or take another task",
            )
        return self._task.transform(data.x), data.y

    def _train_first(self, step: TrainStep, number: int, progress: Progress) -> Graph:
        shape, classes = self._task.input_shape, self._task.classes
        network = build_network(
            self._source.architecture,
            inputs=shape,
            classes=len(classes),
            width=self._source.width,
            seed=self._seed,
        )
        self._descend(network, step, None, number, progress)
        return trace(network, shape, classes)

    def _train(self, step: TrainStep | DistilStep, state: State, number: int, progress: Progress) -> Graph:
        module = with_norms(state.graph, self._public[0][spread(256, len(self._public[0]))])
        teacher = self._teacher(step, state) if isinstance(step, DistilStep) else None
        self._descend(module, step, teacher, number, progress)
        return fold_graph(module)

    def _train_rounded(self, step: QatStep, state: State, number: int, progress: Progress) -> State:
        assert state.quantization is not None  # the recipe's own rule
        module = FakeQuantGraphModule(state.graph, state.quantization)
        self._descend(module, step, self._teacher(step, state) if step.weight else None, number, progress)
        graph, quantization = module.to_quantized()
        return replace(state, graph=graph, quantization=quantization)

    def _teacher(self, step: DistilStep | QatStep, state: State) -> nn.Module:
        told = state.uncompressed if step.teacher is None else _fitting(step.teacher, self._task)
        assert told is not None
        return GraphModule(told)

    def _descend(
        self,
        module: nn.Module,
        step: TrainStep | DistilStep | QatStep,
        teacher: nn.Module | None,
        number: int,
        progress: Progress,
    ) -> None:
        x, y = self._public
        soft = (4.0, 0.0) if isinstance(step, TrainStep) else (step.temperature, step.weight)  # no teacher, no effect
        train_centrally(
            module,
            x,
            y,
            epochs=step.epochs,
            batch_size=step.batch_size,
            learning_rate=step.learning_rate,
            seed=self._seed + number,
            label_smoothing=step.label_smoothing,
            augment=ShiftAndFlip(step.shift, step.flip) if step.shift or step.flip else None,
            teacher=teacher,
            temperature=soft[0],
            distillation=soft[1],
            precision=step.precision,
            progress=progress,
        )


def _with_bits(step: BitsStep, state: State, calibration: Float32Array) -> State:
    whole = uniform_bits(state.graph, 8).bytes
    budget = step.keep_bytes * whole if step.size_kb is None else 1000 * step.size_kb
    packed = apply_bits(state.graph, allocate_bits(state.graph, calibration, int(budget)), calibration)
    return replace(state, graph=packed.graph, packed=packed)


def _fitting(path: Path, task: Task) -> Graph:
    graph = load_graph(path)
    if graph.input_shape != task.input_shape or graph.outputs != len(task.classes):
        raise InputError(
            f"this network maps {graph.input_shape} to {graph.outputs} outputs, task {task.name} has examples "
            f"{task.input_shape} of {len(task.classes)} classes",
            where=str(path),
            mend="name a network that was trained for this task, at this input size",
        )
    return graph
