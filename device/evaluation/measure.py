"""Measuring models on a task's held-out holders: quality, calibration, spread, corruptions, strangers.

1. *scores* of every held-out example by every model;
2. *quality* over all of them: accuracy, cross-entropy (NLL), calibration error (ECE);
3. *calibration*: the same after temperature scaling, each temperature fitted without the examples that it is judged on;
4. *spread*: accuracy on each holder, and its 10th, 50th and 90th percentile;
5. *corruptions*: ten, in five severities, on a sample of the held-out examples;
6. *strangers*: how well MSP and energy tell a second task's examples from this one's;
7. *robustness*: accuracy under attacks within a ball (:mod:`~skerry.device.evaluation.robustness`), on the sample.

Models that are compared get the very same inputs, corrupted ones too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from skerry.device.evaluation.corruptions import SEVERITIES, corrupted, corruptions_of
from skerry.device.evaluation.ood import Separation, energy, msp, separation
from skerry.device.evaluation.reliability import ReliabilityBin, reliability
from skerry.device.evaluation.spread import Spread, spread_of
from skerry.device.evaluation.temperature import cross_fit, fit_temperature
from skerry.device.tasks.metrics import Quality, evaluate
from skerry.device.tasks.reach import attack_ball
from skerry.device.tasks.task import Task
from skerry.errors import InputError, TaskError
from skerry.records import Examples, Float32Array
from skerry.security.adversarial import Norm

if TYPE_CHECKING:
    from skerry.device.evaluation.robustness import Robustness

__all__ = ["Calibrated", "Evaluation", "ModelEvaluation", "Plan", "Scorer", "evaluate_models"]

Progress = Callable[[str, int, int], None]
"""Told what is being scored, how many examples were, and how many will be."""

_CHUNK = 256


@dataclass(frozen=True)
class Scorer:
    """A model as a function.

    Attributes:
        name: what it is called.
        kind: ``float`` or ``int8``.
        scores: ``(n, *input_shape)`` float32 to ``(n, classes)`` scores.
        twin: makes a torch module that computes the same and has gradients: what attacks follow. None: there is none.
    """

    name: str
    kind: Literal["float", "int8"]
    scores: Callable[[Float32Array], Float32Array]
    twin: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Plan:
    """What is measured beside quality.

    Attributes:
        temperature: ``held-out``: fitted on the other holders; ``public``: on the task's public examples.
        corruptions: whether there are any.
        sample: how many held-out examples are corrupted, and told from strangers; spread evenly over all.
        strangers: a second task; None leaves it out.
        seed: of corruptions and attacks.
        adversarial: radius of attacks as :func:`~skerry.device.tasks.reach.attack_ball` takes it; None: no attacks.
        norm: of attacks.
        auto_attack: AutoAttack beside PGD.
    """

    temperature: Literal["held-out", "public"] = "held-out"
    corruptions: bool = True
    sample: int = 300
    strangers: Task | None = None
    seed: int = 0
    adversarial: float | None = None
    norm: Norm = "linf"
    auto_attack: bool = False


@dataclass(frozen=True)
class Calibrated:
    """Cross-entropy (nats) and calibration error after temperature scaling; ``temperature`` is the one to use."""

    temperature: float
    loss: float
    ece: float
    fitted_on: Literal["held-out", "public"]
    reliability: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class ModelEvaluation:
    """All that was measured of one model.

    Attributes:
        name: of the scorer.
        kind: of the scorer.
        quality: over all held-out examples.
        reliability: of the unscaled scores.
        calibrated: after temperature scaling.
        per_device: percentiles of ``devices``.
        devices: accuracy on each held-out holder.
        clean: accuracy on the sample, uncorrupted; None when nothing was corrupted.
        corruptions: accuracy by corruption and severity 1 … 5, on the sample.
        strangers: by score, ``msp`` and ``energy``.
        robustness: under attacks, on the sample.
    """

    name: str
    kind: Literal["float", "int8"]
    quality: Quality
    reliability: tuple[ReliabilityBin, ...]
    calibrated: Calibrated
    per_device: Spread
    devices: Mapping[str, float]
    clean: float | None = None
    corruptions: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    strangers: Mapping[str, Separation] = field(default_factory=dict)
    robustness: "Robustness | None" = None

    @property
    def corrupted(self) -> float | None:
        """Mean accuracy over all corruptions and severities."""
        values = [value for curve in self.corruptions.values() for value in curve]
        return float(np.mean(values)) if values else None


@dataclass(frozen=True)
class Evaluation:
    """Models measured side by side on one task.

    Attributes:
        task: its name.
        examples: how many held-out examples there are.
        sample: how many of them were corrupted, attacked or told from strangers.
        strangers: name of the second task, None where there is none.
        models: in the order in which they were given.
        agreement: share of held-out examples that the first two models label alike; None for a single one.
    """

    task: str
    examples: int
    sample: int
    strangers: str | None
    models: tuple[ModelEvaluation, ...]
    agreement: float | None

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values; ``devices`` repeats those of the first model."""
        return {
            "task": self.task,
            "examples": self.examples,
            "sample": self.sample,
            "strangers": self.strangers,
            "models": [
                {
                    "name": one.name,
                    "kind": one.kind,
                    **asdict(one.quality),
                    "calibrated": asdict(one.calibrated),
                    "reliability": [asdict(part) for part in one.reliability],
                    "per_device": asdict(one.per_device),
                    "devices": dict(one.devices),
                    "clean": one.clean,
                    "corrupted": one.corrupted,
                    "corruptions": {name: list(curve) for name, curve in one.corruptions.items()},
                    "strangers": {name: asdict(found) for name, found in one.strangers.items()},
                    "robustness": asdict(one.robustness) if one.robustness is not None else None,
                }
                for one in self.models
            ],
            "agreement": self.agreement,
            "devices": dict(self.models[0].devices),
        }


def evaluate_models(
    task: Task, scorers: Sequence[Scorer], plan: Plan, progress: Progress = lambda *_: None
) -> Evaluation:
    """Measure every model on the task's held-out holders.

    Args:
        task: gives held-out holders, public data and the transform.
        scorers: what is measured.
        plan: what is measured of each.
        progress: is told how far it is.

    Raises:
        TaskError: the task has no held-out example.
        InputError: a model gives another number of scores than there are classes, or scores that are not finite; the
            second task's examples do not fit; there is no labelled public example for the temperature.
    """
    held_out = {name: data for name, data in task.evaluation().items() if len(data)}
    if not held_out:
        raise TaskError("there is no held-out example to measure on", where=f"task {task.name}")
    every = Examples.concatenate(list(held_out.values()))
    sample = every.select(_evenly(plan.sample, len(every)))
    public = _public(task) if plan.temperature == "public" else None
    strangers = _strangers(task, plan) if plan.strangers is not None else None
    total = _work(task, plan, len(every), len(sample), public, strangers) * len(scorers)
    bench = _Bench(task, progress, total)
    models, predictions = [], []
    for scorer in scorers:
        logits = bench.score(scorer, f"{scorer.kind}: held out", (task.transform(x) for x in _chunks(every.x)))
        predictions.append(logits.argmax(axis=1))
        models.append(
            ModelEvaluation(
                name=scorer.name,
                kind=scorer.kind,
                quality=evaluate(logits, every.y),
                reliability=reliability(logits, every.y),
                calibrated=_calibrated(
                    logits, every.y, [len(data) for data in held_out.values()], bench, scorer, public
                ),
                devices=(devices := _by_holder(logits, held_out)),
                per_device=spread_of(list(devices.values())),
                clean=(corruptions := _corruptions(bench, scorer, sample, plan))[0],
                corruptions=corruptions[1],
                strangers=_told_apart(bench, scorer, sample, strangers) if strangers is not None else {},
                robustness=_robustness(bench, scorer, sample, plan),
            )
        )
    agreement = float(np.mean(predictions[0] == predictions[1])) if len(models) > 1 else None
    used = len(sample) if plan.corruptions or strangers is not None or plan.adversarial is not None else 0
    return Evaluation(
        task.name, len(every), used, plan.strangers.name if plan.strangers else None, tuple(models), agreement
    )


class _Bench:
    """Runs models and keeps count."""

    def __init__(self, task: Task, progress: Progress, total: int) -> None:
        self.task = task
        self._progress = progress
        self._total = total
        self._done = 0

    def tell(self, what: str) -> None:
        """What begins, which is not counted."""
        self._progress(what, self._done, self._total)

    def score(self, scorer: Scorer, what: str, inputs: Iterator[Float32Array]) -> Float32Array:
        """``(n, classes)`` scores of batches of network input."""
        found = []
        self._progress(what, self._done, self._total)
        for x in inputs:
            logits = np.asarray(scorer.scores(x), np.float32)
            if logits.shape != (len(x), len(self.task.classes)):
                raise InputError(
                    f"the model gives {logits.shape[1:]} scores for each example, and the task has "
                    f"{len(self.task.classes)} classes",
                    where=scorer.name,
                    mend="evaluate it on the task that it was trained for",
                )
            if not np.isfinite(logits).all():
                raise InputError("the model gives scores that are not finite numbers", where=scorer.name)
            found.append(logits)
            self._done += len(x)
            self._progress(what, self._done, self._total)
        return np.concatenate(found)


def _calibrated(
    logits: Float32Array,
    y: npt.NDArray[np.int64],
    holders: list[int],
    bench: _Bench,
    scorer: Scorer,
    public: Examples | None,
) -> Calibrated:
    if public is None:
        fitted = cross_fit(logits, y, holders)
        scaled, temperature = fitted.logits, fitted.temperature
    else:
        inputs = (bench.task.transform(x) for x in _chunks(public.x))
        temperature = fit_temperature(bench.score(scorer, f"{scorer.kind}: public", inputs), public.y)
        scaled = logits / np.float32(temperature)
    quality = evaluate(scaled, y)
    on: Literal["held-out", "public"] = "held-out" if public is None else "public"
    return Calibrated(temperature, quality.loss, quality.ece, on, reliability(scaled, y))


def _by_holder(logits: Float32Array, held_out: Mapping[str, Examples]) -> dict[str, float]:
    ends = np.cumsum([len(data) for data in held_out.values()])
    parts = np.split(logits, ends[:-1])
    return {name: evaluate(part, data.y).accuracy for (name, data), part in zip(held_out.items(), parts, strict=True)}


def _corruptions(
    bench: _Bench, scorer: Scorer, sample: Examples, plan: Plan
) -> tuple[float | None, dict[str, tuple[float, ...]]]:
    task = bench.task
    if not plan.corruptions:
        return None, {}

    def accuracy(what: str, inputs: Iterator[Float32Array]) -> float:
        return evaluate(bench.score(scorer, f"{scorer.kind}: {what}", inputs), sample.y).accuracy

    def harmed(name: str, severity: int) -> Iterator[Float32Array]:
        for i, x in enumerate(_chunks(sample.x)):
            yield corrupted(task, x, name, severity, plan.seed + i)

    clean = accuracy("clean sample", (task.transform(x) for x in _chunks(sample.x)))
    curves = {
        name: tuple(accuracy(name.replace("_", " "), harmed(name, severity)) for severity in SEVERITIES)
        for name in corruptions_of(task)
    }
    return clean, curves


def _told_apart(bench: _Bench, scorer: Scorer, sample: Examples, strangers: Examples) -> dict[str, Separation]:
    transform = bench.task.transform
    inside = bench.score(scorer, f"{scorer.kind}: sample", (transform(x) for x in _chunks(sample.x)))
    outside = bench.score(scorer, f"{scorer.kind}: strangers", (transform(x) for x in _chunks(strangers.x)))
    return {score.__name__: separation(score(inside), score(outside)) for score in (msp, energy)}


def _robustness(bench: _Bench, scorer: Scorer, sample: Examples, plan: Plan) -> "Robustness | None":
    if plan.adversarial is None:
        return None
    if scorer.twin is None:
        raise InputError(
            "attacks follow gradients, and there are none of this model",
            where=scorer.name,
            mend="measure a finished run, or a graph or ONNX file that skerry wrote",
        )
    from skerry.device.evaluation.robustness import robustness_of

    return robustness_of(
        scorer.scores,
        scorer.twin(),
        np.concatenate([bench.task.transform(x) for x in _chunks(sample.x)]),
        sample.y,
        attack_ball(bench.task, plan.adversarial, plan.norm),
        seed=plan.seed,
        auto=plan.auto_attack,
        progress=lambda name: bench.tell(f"{scorer.kind}: {name}"),
    )


def _public(task: Task) -> Examples:
    public = task.public_data()
    labelled = public.select(public.y >= 0)
    if not len(labelled):
        raise InputError(
            "this task has no labelled public examples on which a temperature could be fitted",
            where=f"task {task.name}",
            mend="fit it on held-out holders: --temperature held-out",
        )
    return labelled


def _strangers(task: Task, plan: Plan) -> Examples:
    assert plan.strangers is not None
    other = Examples.concatenate(list(plan.strangers.evaluation().values()))
    x = other.x
    channels, height, width = task.input_shape
    fits = (
        x.shape[1:] == (width, channels)
        if height == 1
        else x.ndim == 4 and x.dtype == np.uint8 and x.shape[3] in {1, 3}
    )
    if not fits:
        raise InputError(
            f"examples {x.shape[1:]} of {plan.strangers.name} cannot be given to a network for "
            f"{channels}×{height}×{width} inputs",
            where="--ood",
            mend="take a task of the same kind: pictures for pictures, windows of the same channels and length",
        )
    return other.select(_evenly(plan.sample, len(other)))


def _work(task: Task, plan: Plan, every: int, sample: int, public: Examples | None, strangers: Examples | None) -> int:
    total = every + (len(public) if public is not None else 0)
    if plan.corruptions:
        total += sample * (1 + len(SEVERITIES) * len(corruptions_of(task)))
    if strangers is not None:
        total += sample + len(strangers)
    return total


def _chunks(x: npt.NDArray[np.generic]) -> Iterator[npt.NDArray[np.generic]]:
    for start in range(0, len(x), _CHUNK):
        yield x[start : start + _CHUNK]


def _evenly(count: int, of: int) -> npt.NDArray[np.int64]:
    """``count`` indices spread evenly over ``of`` examples, which lie holder by holder."""
    return np.unique(np.linspace(0, of - 1, min(count, of)).round().astype(np.int64))
