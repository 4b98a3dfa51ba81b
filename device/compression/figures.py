"""What is measured of a compressed network: the file itself is run, on held-out examples and against a clock."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from skerry.device.bench.probing import Job, Probe, ProbeDied
from skerry.device.runtime import OnnxModel
from skerry.device.tasks.metrics import evaluate
from skerry.device.tasks.task import Task
from skerry.records import Examples, Float32Array

__all__ = ["Figures", "HeldOut", "latency_ms", "measure_file", "slowest_ms"]

_CHUNK = 512
_BURSTS = 9
_CALLS = 100
_PAUSE_S = 0.03  # bursts in a row would all fall into one moment of a busy machine


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
    """

    accuracy: float
    loss: float
    agreement: float | None
    bytes: int
    macs: int
    parameters: int
    latency_ms: float


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
) -> Figures:
    """Run an ONNX file on the held-out examples and time it.

    Args:
        file: what onnxruntime runs.
        held_out: the examples.
        macs: of the graph in it.
        parameters: of the graph in it.
        stored: the file whose bytes count, where it is another one.
        reference: logits to agree with.
    """
    logits = held_out.logits(file)
    quality = evaluate(logits, held_out.y)
    return Figures(
        accuracy=quality.accuracy,
        loss=quality.loss,
        agreement=None if reference is None else float((logits.argmax(1) == reference.argmax(1)).mean()),
        bytes=(stored or file).stat().st_size,
        macs=macs,
        parameters=parameters,
        latency_ms=latency_ms(file),
    )


def latency_ms(file: Path, *, bursts: int = _BURSTS, calls: int = _CALLS) -> float:
    """Median latency of one call, in milliseconds: one thread, onnxruntime, in a fresh process.

    The median of several bursts' medians, spread over a third of a second: a neighbour that takes the processor for a
    moment strikes a few of them.

    Raises:
        InputError: onnxruntime cannot run the file.
    """
    job = Job("onnxruntime", file)
    try:
        with Probe() as probe:
            probe.open(job, start_s=probe.up())
            medians = []
            for _ in range(bursts):
                medians.append(statistics.median(probe.burst(count=calls).latencies))
                time.sleep(_PAUSE_S)
    except ProbeDied as died:
        raise died.error(job) from died
    return 1e3 * statistics.median(medians)


def slowest_ms(file: Path, times: int) -> float:
    """The largest of so many measurements by :func:`latency_ms`, each in a process of its own."""
    return max(latency_ms(file) for _ in range(times))
