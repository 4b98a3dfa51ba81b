"""What this device can do, measured on itself: what a fleet's operator needs to choose a model that fits.

Nothing in it names the machine or its owner; all of it together is still a fingerprint, so it stays on the device:
its owner sees it (`skerry device doctor`), and what goes to a federation is :mod:`skerry.device.agent.telemetry`.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skerry.device.agent.host import Host
from skerry.device.bench.machine import installed, machine
from skerry.device.training.dp import Grid
from skerry.device.training.head import HeadTrainer

__all__ = ["BENCH_S", "Capability", "capability"]

BENCH_S = 2.0
_CLASSES, _FEATURES, _EXAMPLES = 10, 257, 64
_RUNTIMES = ("numpy", "onnxruntime", "torch")


@dataclass(frozen=True)
class Capability:
    """What was found.

    Attributes:
        architecture: as the kernel calls it.
        isa: instruction sets that matter to int8 and bf16, as the kernel spells them.
        cores: that a process may use.
        memory_mb: installed, in MB (10^6).
        runtimes: what could be imported of numpy, onnxruntime and torch.
        trainable: the modes that these allow.
        ms_per_example: median of a private step of a head of ten classes on 256 features, for one example, one thread.
    """

    architecture: str
    isa: tuple[str, ...]
    cores: int
    memory_mb: int
    runtimes: tuple[str, ...]
    trainable: tuple[str, ...]
    ms_per_example: float


def capability(host: Host, *, bench_s: float = BENCH_S, watch: Callable[[], float] = time.perf_counter) -> Capability:
    """Look, and measure for so many seconds.

    Args:
        host: where to look.
        bench_s: seconds of the measurement.
        watch: seconds that never go back.
    """
    found = machine(host.root)
    runtimes = tuple(name for name in _RUNTIMES if installed(name))
    modes = ("head",) if "onnxruntime" in runtimes else ()
    whole = ("tail", "bias", "lora", "qat", "full") if {"onnxruntime", "torch"} <= set(runtimes) else ()
    return Capability(
        architecture=found.architecture,
        isa=found.isa,
        cores=found.cores,
        memory_mb=found.memory_mb,
        runtimes=runtimes,
        trainable=(*modes, *whole),
        ms_per_example=_measured(bench_s, watch),
    )


def _measured(bench_s: float, watch: Callable[[], float]) -> float:
    generator = np.random.default_rng(0)
    rows, y = generator.normal(size=(_EXAMPLES, _FEATURES)), generator.integers(0, _CLASSES, _EXAMPLES)
    trainer = HeadTrainer(_CLASSES, _FEATURES)
    grid = Grid(1.0, 1.0, trainer.layout.size)
    weight = np.zeros((_CLASSES, _FEATURES))
    taken: list[float] = []
    end = watch() + bench_s
    while not taken or watch() < end:
        begin = watch()
        trainer.integer_sum(weight, rows, y, grid)
        taken.append(1000 * (watch() - begin) / _EXAMPLES)
    return statistics.median(taken)
