"""A recipe, step by step, each measured: from a network to the files that devices get.

::

    <out>/
        recipe.toml        resolved
        summary.json       every step's figures, the budget, and what of it is not kept
        steps/00-uncompressed/   the network as it was given, or before the first step that compresses
        steps/NN-kind/     what each step left: graph, quantization, ONNX, figures and the key of their making
        model/             the files of the last step

Figures are those of files that were run on held-out examples. A key is a digest of the task's data, the network and all
steps up to one: a recipe that was stopped, or whose later steps are changed, goes on behind the last step that is the
same. A step's folder appears whole or not at all.
"""

import time
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

from skerry.canonical import digest, sha256_hex
from skerry.config import ModelConfig
from skerry.config.recipe import Recipe, recipe_to_toml
from skerry.device.bench.quiet import Pace
from skerry.device.compression.budget import broken_parts, excess
from skerry.device.compression.figures import HeldOut, measure_file
from skerry.device.compression.graph_file import load_graph
from skerry.device.compression.kept import Files, Stage, deliver, find, keep
from skerry.device.compression.steps import State, Steps
from skerry.device.tasks.registry import load_task
from skerry.device.tasks.task import Task
from skerry.device.training.central import TrainingProgress
from skerry.fsio import write_atomic, write_json
from skerry.records import Float32Array

__all__ = ["Compressed", "Watcher", "compress", "recipe_task"]

BUILD = 2
"""Raised whenever a change of this code changes what a step leaves."""


@dataclass(frozen=True)
class Compressed:
    """A finished compression.

    Attributes:
        out: its folder.
        recipe: as it was followed.
        uncompressed: the network as it was given in a file, or before the first step that compresses; None when there
            is neither.
        stages: one for each step.
        broken: parts of the budget that the result does not keep, in words; empty when it keeps all.
    """

    out: Path
    recipe: Recipe
    uncompressed: Stage | None
    stages: tuple[Stage, ...]
    broken: tuple[str, ...]

    @property
    def closest(self) -> Stage:
        """The stage that comes nearest to the budget; of several that keep it the most accurate one."""
        before = None if self.uncompressed is None else self.uncompressed.figures
        return min(self.rows, key=lambda s: (excess(self.recipe.budget, s.figures, before), -s.figures.accuracy))

    @property
    def rows(self) -> tuple[Stage, ...]:
        """All stages to be shown: the uncompressed network first where it came from a file."""
        begun = self.recipe.model.file is not None and self.uncompressed is not None
        return (*([self.uncompressed] if begun and self.uncompressed else []), *self.stages)

    def to_json(self) -> dict[str, Any]:
        """What ``summary.json`` holds: enough for a model card."""
        return {
            "schema": 1,
            "name": self.recipe.name,
            "task": self.recipe.task.name,
            "source": self.recipe.model.model_dump(mode="json", exclude_none=True),
            "uncompressed": None if self.uncompressed is None else asdict(self.uncompressed.figures),
            "steps": [
                {**asdict(stage), "recipe": step.model_dump(mode="json", exclude_none=True)}
                for step, stage in zip(self.recipe.steps, self.stages, strict=True)
            ],
            "final": asdict(self.stages[-1].figures),
            "budget": self.recipe.budget.model_dump(exclude_none=True),
            "broken": list(self.broken),
            "files": {p.name: sha256_hex(p.read_bytes()) for p in sorted((self.out / "model").iterdir())},
        }


class Watcher(Protocol):
    """Is told how a compression goes on."""

    def begin(self, number: int, of: int, kind: str) -> None:
        """A step begins; numbers are from 1, 0 is the measuring of the uncompressed network."""

    def training(self, progress: TrainingProgress) -> None:
        """A training step is done."""

    def measuring(self) -> None:
        """The step's work is done; its file is measured."""

    def end(self, stage: Stage) -> None:
        """The step is done and measured."""


def recipe_task(recipe: Recipe) -> Task:
    """The recipe's task at its input size.

    Raises:
        InputError: the network's file cannot be read.
        ScenarioError: there is no such task.
        TaskError: its data cannot be used.
    """
    size_ = recipe.model.input_size
    if recipe.model.file is not None:
        size_ = load_graph(recipe.model.file).input_shape[-1]
    return load_task(recipe.task, ModelConfig(architecture=recipe.model.architecture, input_size=size_))


def compress(
    recipe: Recipe, out: Path, watcher: Watcher, *, task: Task | None = None, pace: Pace | None = None
) -> Compressed:
    """Follow a recipe.

    Ctrl-C loses the step under way; finished ones are found again.

    Args:
        recipe: what to do.
        out: the output folder; made when missing.
        watcher: is told how it goes on.
        task: the recipe's task, where it is loaded already.
        pace: of this machine, as far as it is known already.

    Raises:
        InputError: the task, the network or a step cannot be used; says what is the closest where a step's target
            cannot be met.
        RunFailedError: training diverged.
    """
    task, pace = task or recipe_task(recipe), pace or Pace()
    steps, held_out = Steps(recipe, task), HeldOut(task)
    state = steps.start()
    base = _base_key(recipe, task)
    stages: list[Stage] = []
    uncompressed: _Uncompressed | None = None
    write_atomic(out / "recipe.toml", recipe_to_toml(recipe).encode(), durable=False)
    for number, step in enumerate(recipe.steps, 1):
        state = None if state is None else state.before(step)
        if uncompressed is None and state is not None and state.uncompressed is not None:
            key = digest([base, *_dumped(recipe, number - 1), "uncompressed"])
            uncompressed = _Uncompressed(state, held_out, out, key, watcher, len(recipe.steps), pace)
        watcher.begin(number, len(recipe.steps), step.kind)
        key, folder = digest([base, *_dumped(recipe, number)]), out / "steps" / f"{number:02d}-{step.kind}"
        found = find(folder, key, state)
        if found is None:
            begun = time.perf_counter()
            state = steps.take(step, state, number - 1, watcher.training)
            seconds = time.perf_counter() - begun
            watcher.measuring()
            told = None if uncompressed is None else uncompressed.logits
            measure = partial(_measured, number, step.kind, seconds, state, held_out, told, pace)
            stages.append(keep(folder, key, state, measure))
        else:
            state, stage = found
            stages.append(stage)
        watcher.end(stages[-1])
    before = None if uncompressed is None else uncompressed.stage
    broken = broken_parts(recipe.budget, stages[-1].figures, before.figures if before else None)
    deliver(out / "steps" / stages[-1].folder, out / "model")
    made = Compressed(out, recipe, before, tuple(stages), broken)
    write_json(out / "summary.json", made.to_json(), durable=False)
    return made


class _Uncompressed:
    """The network that others are compared with: measured once, and run again only when logits are asked for."""

    def __init__(
        self, state: State, held_out: HeldOut, out: Path, key: str, watcher: Watcher, steps: int, pace: Pace
    ) -> None:
        assert state.uncompressed is not None
        self._held_out = held_out
        plain, folder = State(state.uncompressed), out / "steps" / "00-uncompressed"
        found = find(folder, key, None)
        if found is None:
            watcher.begin(0, steps, "uncompressed")
            watcher.measuring()
            self.stage = keep(
                folder, key, plain, partial(_measured, 0, "uncompressed", 0.0, plain, held_out, None, pace)
            )
        else:
            self.stage = found[1]
        self._file = folder / "model.fp32.onnx"

    @cached_property
    def logits(self) -> Float32Array:
        """Its outputs for the held-out examples."""
        return self._held_out.logits(self._file)


def _measured(
    number: int,
    kind: str,
    seconds: float,
    state: State,
    held_out: HeldOut,
    reference: Float32Array | None,
    pace: Pace,
    files: Files,
) -> Stage:
    figures = measure_file(
        files.runs,
        held_out,
        macs=state.graph.macs(),
        parameters=state.graph.parameters(),
        stored=files.stored,
        reference=reference,
        pace=pace,
    )
    return Stage(number, kind, figures, seconds)


def _base_key(recipe: Recipe, task: Task) -> str:
    """Digest of what all steps come from."""
    source = recipe.model.model_dump(mode="json", exclude={"file"})
    file = None if recipe.model.file is None else sha256_hex(recipe.model.file.read_bytes())
    public = task.public_data()
    data = [task.identity(), sha256_hex(public.x.tobytes() + public.y.tobytes()), list(task.input_shape)]
    return digest([BUILD, recipe.seed, source, file, data])


def _dumped(recipe: Recipe, until: int) -> list[dict[str, Any]]:
    """The first steps as plain values; of a file its content counts, not its name."""
    dumped = []
    for step in recipe.steps[:until]:
        teacher = getattr(step, "teacher", None)
        file = None if teacher is None else sha256_hex(teacher.read_bytes())
        dumped.append({**step.model_dump(mode="json"), "teacher": file})
    return dumped
