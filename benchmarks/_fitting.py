"""`model fit` on fashion: are its limits kept when measured again, and is it better than what a person would try?

The latency limit is relative to the machine: half as much again as a network takes that a person might begin with. The
five hand-made settings are trained for as many passes over the same public data as the winner was in all; they are kept
between calls, like checkpoints, and timed anew in each. Those that do not keep the limits on this machine do not count,
and are named.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from _harness import Claim, NotMeasuredError, Peer, Samples, progress
from _pruning import Said

from skerry.canonical import sha256_hex
from skerry.config import ModelConfig, TaskConfig
from skerry.config.fit import FitConfig, LimitsConfig
from skerry.config.recipe import Int8Step, PruneStep, Recipe, SourceConfig, Step, TrainStep
from skerry.device.bench.quiet import Pace
from skerry.device.calibration import calibration_examples
from skerry.device.compression.candidates import Candidate
from skerry.device.compression.figures import slowest, time_file
from skerry.device.compression.fit import Fitted, Tried, fit
from skerry.device.compression.onnx_export import to_onnx
from skerry.device.compression.pipeline import Watcher, compress
from skerry.device.compression.quantize import quantize
from skerry.device.compression.trace import trace
from skerry.device.models import build_network
from skerry.device.tasks.registry import load_task
from skerry.device.training.central import TrainingProgress
from skerry.errors import RunFailedError
from skerry.fsio import home

SIZE_MB, ROOM = 0.7, 1.5
AGAIN, PATIENCE_S = 10, 15.0
EPOCHS, RATE, BATCH = 4, 0.1, 64
SEARCHED: dict[str, Any] = {"widths": (0.25, 0.35, 0.5, 0.75), "sizes": (24, 28, 32, 40), "candidates": 4}
# width, pixels, share of the work to which it is pruned halfway; all in int8
HAND_MADE = ((0.25, 28, None), (0.35, 28, None), (0.25, 40, None), (0.35, 32, 0.7), (0.5, 28, 0.5))
BEGIN_WITH = HAND_MADE[1]
TASK = TaskConfig(name="fashion", channels=1)


class Search:
    """Says how a search goes on, on standard error."""

    def screening(self, what: str) -> None:
        progress(f"untrained: {what}")

    def screened(self, candidates: Sequence[Candidate]) -> None:
        progress(f"{len(candidates)} networks keep the limits untrained: {', '.join(c.name for c in candidates)}")

    def rung(self, number: int, of: int, epochs: int, alive: int) -> None:
        progress(f"rung {number} of {of}: {alive} networks, {epochs} epochs")

    def network(self, candidate: Candidate, number: int) -> Watcher:
        progress(f"network {number}: {candidate.told}")
        return Slowly()

    def tried(self, tried: Sequence[Tried]) -> None:
        pass


class Slowly(Said):
    """Says how training goes on too, at every quarter."""

    def __init__(self) -> None:
        self._quarter = 0

    def begin(self, number: int, of: int, kind: str) -> None:
        self._quarter = 0
        super().begin(number, of, kind)

    def training(self, told: TrainingProgress) -> None:
        if (now := 4 * told.done // told.of) > self._quarter:
            self._quarter = now
            progress(f"{25 * now} %, loss {told.loss:.3f}")


def fitting(folder: Path) -> Iterator[Claim]:
    """Limits when measured again, and accuracy against five hand-made settings."""
    torch.set_num_threads(1)
    limits = LimitsConfig(latency_ms=_latency_limit(folder), size_mb=SIZE_MB)
    progress(f"limits: {limits.latency_ms:g} ms, {limits.size_mb:g} MB")
    config = FitConfig(task=TASK, limits=limits, epochs=EPOCHS, batch_size=BATCH, learning_rate=RATE, **SEARCHED)
    try:
        found = fit(config, folder / "fit", Search())
    except RunFailedError as error:  # the machine became busier in the meantime
        raise NotMeasuredError(str(error)) from error
    yield from _measured_again(found, limits)
    passes = EPOCHS + next(t.epochs for t in found.tried if t.candidate == found.winner)
    hand = [_hand_made(*setting, passes, limits) for setting in HAND_MADE]
    yield _beaten(found, hand, passes)


def _latency_limit(folder: Path) -> float:
    width, size, _ = BEGIN_WITH
    task = load_task(TASK, ModelConfig(architecture="mobilenet_v2", input_size=size))
    network = build_network("mobilenet_v2", inputs=task.input_shape, classes=len(task.classes), width=width)
    graph = trace(network.eval(), task.input_shape, task.classes)
    file = folder / "begin.int8.onnx"
    file.write_bytes(to_onnx(graph, quantize(graph, calibration_examples(task)[:16])).SerializeToString())
    return round(ROOM * slowest(file, 3, Pace.looked_for()).median_ms, 3)


def _measured_again(found: Fitted, limits: LimitsConfig) -> Iterator[Claim]:
    assert limits.latency_ms is not None
    progress(f"{found.winner.told}: measured {AGAIN} times again")
    pace = Pace.looked_for()
    timings = [time_file(found.runs, pace, patience_s=PATIENCE_S) for _ in range(AGAIN)]
    times = Samples([timing.median_ms for timing in timings])
    size = found.file.stat().st_size
    yield Claim(
        id="fit_within",
        text=f"fashion: times that the network of `model fit` keeps {limits.latency_ms:g} ms ({ROOM:g} times what "
        f"width {BEGIN_WITH[0]:g} at {BEGIN_WITH[1]} pixels takes here in int8) and {SIZE_MB:g} MB when it is measured "
        "again, each time in a process of its own: the median of calls that nothing disturbed",
        value=sum(ms <= limits.latency_ms and size <= 1e6 * SIZE_MB for ms in times.values),
        unit=f"of {AGAIN}",
        op=">=",
        bar=AGAIN,
        peer=Peer("limit, ms", limits.latency_ms),
        spread=times.spread,
        detail={
            "winner": found.winner.name,
            "bytes": size,
            "latency_ms": list(times.values),
            "timings": [asdict(timing) for timing in timings],
        },
    )
    plain = Samples([timing.all_ms for timing in timings if timing.all_ms is not None])
    yield Claim(
        id="fit_within_all",
        text=f"the same ten measurements: times that the median of all calls, disturbed ones too, keeps "
        f"{limits.latency_ms:g} ms",
        value=sum(ms <= limits.latency_ms for ms in plain.values),
        unit=f"of {AGAIN}",
        op=">=",
        bar=AGAIN,
        peer=Peer("limit, ms", limits.latency_ms),
        spread=plain.spread,
    )


def _beaten(found: Fitted, hand: Sequence["HandMade"], passes: int) -> Claim:
    count = [made for made in hand if made.fits]
    if not count:
        raise NotMeasuredError("none of the five hand-made settings keeps the limits on this machine")
    best = max(count, key=lambda made: made.accuracy)
    return Claim(
        id="fit_beats",
        text=f"fashion, the same limits: held-out accuracy of `model fit` less that of the best of {len(count)} (of "
        f"five) hand-made settings within the limits, {passes} passes over the public data each",
        value=found.figures.accuracy - best.accuracy,
        unit="of examples, difference",
        op=">=",
        bar=0.0,
        peer=Peer(f"best by hand: {best.name}", best.accuracy),
        detail={
            "winner": found.winner.name,
            "accuracy": found.figures.accuracy,
            "hand_made": [vars(made) for made in hand],
            "tried": {t.candidate.name: [t.epochs, t.figures.accuracy] for t in found.tried},
        },
    )


@dataclass(frozen=True)
class HandMade:
    """A setting that a person would try, trained."""

    name: str
    accuracy: float
    latency_ms: float
    bytes: int
    fits: bool


def _hand_made(width: float, size: int, keep: float | None, passes: int, limits: LimitsConfig) -> HandMade:
    name = f"w{width:g}-{size}px" + ("" if keep is None else f"-keep{round(100 * keep)}")
    progress(f"by hand: {name}")
    first = passes if keep is None else passes // 2
    steps: list[Step] = [TrainStep(epochs=first, batch_size=BATCH, learning_rate=RATE)]
    if keep is not None:
        again = TrainStep(epochs=passes - first, batch_size=BATCH, learning_rate=RATE / 2)
        steps += [PruneStep(keep_macs=keep), again]
    recipe = Recipe(task=TASK, model=SourceConfig(width=width, input_size=size), steps=(*steps, Int8Step()))
    key = sha256_hex(json.dumps([recipe.model_dump(mode="json"), torch.__version__], sort_keys=True).encode())
    kept = home() / "benchmarks" / f"by-hand-{name}-{key[:16]}"  # a step is found there if its data are the same
    made = compress(recipe, kept, Slowly())
    file = made.out / "model" / "model.int8.onnx"
    ms, stored = time_file(file, patience_s=PATIENCE_S).median_ms, file.stat().st_size
    assert limits.latency_ms is not None
    fits = ms <= limits.latency_ms and stored <= 1e6 * SIZE_MB
    return HandMade(name, made.stages[-1].figures.accuracy, ms, stored, fits)
