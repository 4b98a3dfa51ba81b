"""What is measured of a compressed network: the file itself is run, on held-out examples and against a clock."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from skerry.device.bench.probing import Job, Probe, ProbeDied
from skerry.device.bench.quiet import Pace, Timing, quiet_latency
from skerry.device.runtime import OnnxModel
from skerry.device.tasks.metrics import evaluate
from skerry.device.tasks.task import Task
from skerry.records import Examples, Float32Array

__all__ = ["Figures", "HeldOut", "measure_file", "slowest", "time_file"]

_CHUNK = 512
_PATIENCE_S = 3.0  # for each step of a recipe
_LONG_PATIENCE_S = 15.0  # where a limit depends on it


@dataclass(frozen=True)
class Figures:
    """Of one file: quality on held-out examples, size and speed.

    Attributes:
        accuracy: share of held-out examples that it gets right.
        loss: their mean cross-entropy, in nats.
        agreement: share of them to which the uncompressed network gives the same class; None before there is one.
        bytes: of the file that a device stores.
        macs: multiply-accumulates for one example.
        parameters: numbers in weights and biases.
        latency_ms: median of one call on one thread of this machine, in a process of its own.
        timing: how it was found; None for what an older skerry left.
    """

    accuracy: float
    loss: float
    agreement: float | None
    bytes: int
    macs: int
    parameters: int
    latency_ms: float
    timing: Timing | None = None

    @property
    def bound_ms(self) -> float:
        """What is held against a limit: the upper bound of the median."""
        return self.latency_ms if self.timing is None else self.timing.upper_ms

    def timed(self, timing: Timing) -> "Figures":
        """The same with another latency."""
        return replace(self, latency_ms=timing.median_ms, timing=timing)


class HeldOut:
    """A task's held-out examples, all holders together; transformed in parts, because all at once may not fit.

    Args:
        task: whose evaluation.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._all = Examples.concatenate(list(task.evaluation().values()))
        self.y: npt.NDArray[np.int64] = self._all.y

    def logits(self, file: Path) -> Float32Array:
        """``(n, classes)`` outputs of an ONNX file."""
        model = OnnxModel(file)
        return np.concatenate([model.run(x) for x in self._parts()])

    def _parts(self) -> Iterator[Float32Array]:
        for i in range(0, len(self._all), _CHUNK):
            yield self._task.transform(self._all.x[i : i + _CHUNK])


def measure_file(
    file: Path,
    held_out: HeldOut,
    *,
    macs: int,
    parameters: int,
    stored: Path | None = None,
    reference: Float32Array | None = None,
    pace: Pace | None = None,
) -> Figures:
    """Run an ONNX file on the held-out examples and time it.

    Args:
        file: what onnxruntime runs.
        held_out: the examples.
        macs: of the graph in it.
        parameters: of the graph in it.
        stored: the file whose bytes count, where it is another one.
        reference: logits to agree with.
        pace: what is known of the machine's pace; learns.
    """
    logits = held_out.logits(file)
    quality = evaluate(logits, held_out.y)
    timing = time_file(file, pace)
    return Figures(
        accuracy=quality.accuracy,
        loss=quality.loss,
        agreement=None if reference is None else float((logits.argmax(1) == reference.argmax(1)).mean()),
        bytes=(stored or file).stat().st_size,
        macs=macs,
        parameters=parameters,
        latency_ms=timing.median_ms,
        timing=timing,
    )


def time_file(file: Path, pace: Pace | None = None, *, patience_s: float = _PATIENCE_S) -> Timing:
    """Latency of one call: one thread, onnxruntime, in a fresh process, while nothing else disturbs it.

    Args:
        file: what onnxruntime runs.
        pace: what is known of the machine's pace; learns.
        patience_s: see :func:`skerry.device.bench.quiet.quiet_latency`.

    Raises:
        InputError: onnxruntime cannot run the file.
    """
    job = Job("onnxruntime", file)
    try:
        with Probe() as probe:
            probe.open(job, start_s=probe.up())
            return quiet_latency(lambda calls: probe.burst(count=calls), pace or Pace(), patience_s=patience_s)
    except ProbeDied as died:
        raise died.error(job) from died


def slowest(file: Path, times: int, pace: Pace) -> Timing:
    """Of so many measurements by :func:`time_file`, each in a process of its own, the one with the highest bound.

    Blocks are those of all measurements, and quiet are they if each was.
    """
    timings = [time_file(file, pace, patience_s=_LONG_PATIENCE_S) for _ in range(times)]
    return replace(
        max(timings, key=lambda timing: timing.upper_ms),
        blocks=sum(timing.blocks for timing in timings),
        discarded=sum(timing.discarded for timing in timings),
        quiet=all(timing.quiet for timing in timings),
        slower=max(timing.slower for timing in timings),
    )
