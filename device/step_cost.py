"""What one private step costs in each mode: numbers that travel, memory that it adds, time. Measured, not estimated.

Each mode is measured in a process of its own (``python -m skerry.device.step_cost``, a job as JSON on standard input):

1. the base is loaded as a device loads it, its runtime included, and the resident memory is read;
2. one step under example-level privacy on ``batch`` examples, features included: the largest resident memory less the
   first is what the step *adds*;
3. the same step some more times with the features that are kept: the median is the step's time.

Results are kept in ``<home>/costs``, one file for each base, mode, batch and machine.
"""

import contextlib
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from skerry.canonical import digest
from skerry.config import OVER_INT8, ModelConfig, TaskConfig
from skerry.device.bench.machine import machine, versions
from skerry.device.local_model import build_local_model, load_local_model
from skerry.device.models import architecture
from skerry.device.tasks.registry import load_task
from skerry.device.training.plan import TrainPlan
from skerry.errors import RunFailedError, ScenarioError
from skerry.fsio import home, write_json
from skerry.records import Examples, Float32Array
from skerry.security.privacy.stream import seeded_stream

__all__ = ["MODES", "NoiseTask", "StepCost", "measure_modes"]

BUILD = 4
"""Raised whenever a change of this code changes what is measured."""
MODES: tuple[str, ...] = get_args(ModelConfig.model_fields["trainable"].annotation)

_REPETITIONS = 5
_SECONDS = 20.0  # a mode that is slower is repeated less
_TIMEOUT_S = 900.0


@dataclass(frozen=True)
class StepCost:
    """What was measured of one mode.

    Attributes:
        mode: ``model.trainable``.
        trained: numbers that are trained and travel.
        batch: examples of the step.
        added_mb: resident memory that the first step adds to the loaded model, features included, in MB (10^6).
        step_ms: median of a step on features that are kept.
        features_ms: once per example, before the first step; 0 where nothing is computed beforehand.
        machine: on which it was measured, by its name on the network.
        measured: when, seconds since the epoch.
    """

    mode: str
    trained: int
    batch: int
    added_mb: float
    step_ms: float
    features_ms: float
    machine: str
    measured: float


class NoiseTask:
    """Examples of an architecture's published input shape that mean nothing: for measuring costs."""

    name = "noise"
    classes = tuple(f"class-{i}" for i in range(10))

    def __init__(self, task: TaskConfig, model: ModelConfig) -> None:
        del task
        channels, height, width = architecture(model.architecture).published_inputs
        square = height == width and channels == 3
        self.input_shape = (channels, model.input_size, model.input_size) if square else (channels, height, width)

    def devices(self) -> tuple[str, ...]:
        """One."""
        return ("device",)

    def local_data(self, device: str) -> Examples:
        """Labelled noise."""
        del device
        return self._noise(64, labelled=True)

    def public_data(self) -> Examples:
        """Noise without labels."""
        return self._noise(64, labelled=False)

    def evaluation(self) -> dict[str, Examples]:
        """More of it."""
        return {"held-out": self._noise(16, labelled=True)}

    def transform(self, x: npt.NDArray[Any]) -> Float32Array:
        """As it is."""
        return np.ascontiguousarray(x, np.float32)

    def identity(self, device: str | None = None) -> str:
        """By shape: the numbers follow from it."""
        return digest([device, list(self.input_shape)])

    def _noise(self, count: int, *, labelled: bool) -> Examples:
        generator = np.random.default_rng(count)
        x = generator.normal(scale=0.5, size=(count, *self.input_shape)).astype(np.float32)
        y = generator.integers(0, len(self.classes), count) if labelled else np.full(count, -1)
        return Examples(x, y.astype(np.int64))


def measure_modes(
    model: ModelConfig,
    task: TaskConfig,
    modes: Sequence[str],
    *,
    batch: int = 16,
    engine: str = "skerry",
    again: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> list[StepCost]:
    """Measure modes of one network on this machine, or find what was measured before.

    Args:
        model: the network; its mode is replaced by each of ``modes``.
        task: whose examples are used, the first of a device; :class:`NoiseTask` will do.
        modes: which.
        batch: examples of a step.
        engine: what computes clipped gradients, in all modes but ``head``.
        again: measure though it was measured before.
        progress: is told what is done.

    Raises:
        ScenarioError: a mode trains over int8 weights, and ``model.bits`` is 32.
        SkerryError: the network cannot be built for this task.
        RunFailedError: the measured process failed.
    """
    if over := sorted(OVER_INT8.intersection(modes)) if model.bits != 8 else []:
        what = f'model.trainable = "{over[0]}" trains over int8 weights'
        raise ScenarioError(what, where="model.bits", mend="set model.bits = 8, or leave this mode out")
    found = []
    data = load_task(task, model)
    for mode in modes:
        chosen = model.model_copy(update={"trainable": mode, "personal_head": False})
        base = build_local_model(chosen, data, functools.partial(_told, progress, mode))
        job = {
            "task": task.model_dump(mode="json"),
            "model": chosen.model_dump(mode="json"),
            "digest": base,
            "batch": batch,
            "engine": "skerry" if mode == "head" else engine,
        }
        kept = home() / "costs" / f"{digest({**job, 'on': _here()})}.json"
        if not again and kept.is_file():
            found.append(StepCost(**json.loads(kept.read_text(encoding="utf-8"))))
            continue
        progress(f"{mode}: measuring one private step of {batch} examples")
        found.append(StepCost(**_ask(job)))
        write_json(kept, asdict(found[-1]), durable=False)
    return found


def _told(progress: Callable[[str], None], mode: str, stage: str) -> None:
    progress(f"{mode}: {stage}")


def _here() -> dict[str, Any]:
    found = {key: str(value) for key, value in asdict(machine()).items()}
    return {"build": BUILD, "name": platform.node(), **found, "versions": dict(versions())}


def _ask(job: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as errors:
        done = subprocess.run(
            [sys.executable, "-m", "skerry.device.step_cost"],
            input=json.dumps(job).encode(),
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            timeout=_TIMEOUT_S,
            check=False,
        )
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines()
    if done.returncode:
        raise RunFailedError(
            f"the step could not be measured: {said[-1] if said else done.returncode}",
            where=f'model.trainable = "{job["model"]["trainable"]}"',
            mend="a process that is ended without a word ran out of memory: measure a smaller --batch",
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _measure(job: dict[str, Any]) -> StepCost:
    config, batch = ModelConfig.model_validate(job["model"]), int(job["batch"])
    task = load_task(TaskConfig.model_validate(job["task"]), config)
    data = task.local_data(task.devices()[0])
    index = np.arange(batch) % len(data)
    x, y = data.x[index], data.y[index]
    model = load_local_model(config, job["digest"], task)
    vector = model.initial()
    plan = TrainPlan(learning_rate=0.1, unit="example", noise_multiplier=1.0, denominator=batch, engine=job["engine"])
    model.prepare(x[:0])  # what is loaded when it is first needed is loaded now
    before = _resident()
    _forget_peak()
    begin = time.perf_counter()
    inputs = model.prepare(x)
    features = time.perf_counter() - begin
    model.train(vector, inputs, y, plan, seeded_stream(0))
    added = max(_peak(), _resident()) - before
    times: list[float] = []
    while len(times) < _REPETITIONS and sum(times) < _SECONDS:
        begin = time.perf_counter()
        model.train(vector, inputs, y, plan, seeded_stream(len(times)))
        times.append(time.perf_counter() - begin)
    return StepCost(
        mode=config.trainable,
        trained=model.layout.size,
        batch=batch,
        added_mb=round(added / 1e6, 1),
        step_ms=round(statistics.median(times) * 1e3, 3),
        features_ms=round(features / batch * 1e3, 3) if config.trainable in {"head", "tail"} else 0.0,
        machine=platform.node(),
        measured=round(time.time(), 3),
    )


def _resident() -> int:
    """Resident memory of this process in bytes; its peak where there is no other figure."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return _peak()
    return pages * os.sysconf("SC_PAGE_SIZE")


def _peak() -> int:
    from skerry.device.bench.probe import peak_rss

    return peak_rss()


def _forget_peak() -> None:
    """Let the kernel count the peak from here (Linux); elsewhere a peak while loading hides a smaller one later."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_measure(json.load(sys.stdin)))))
