"""What a privacy plan costs in accuracy, measured on public data before anybody's are touched.

A head over the int8 base is trained from nothing, by the trainers and with the noise of a run, on public examples dealt
out to made-up devices; a third of the public examples is kept for measuring. The noise in each round's mean is the
plan's, whatever number of devices the pilot can afford. Adversarial training is piloted with the steps that it takes
and pays for, but examples stay where they are. Private data may be harder, and are not dealt out as evenly.
Look at the *shape* of the curve: where noise begins to cost, and which clip costs least.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from skerry.config import Scenario
from skerry.device.local_model import build_local_model, load_local_model
from skerry.device.training.head import HeadTrainer
from skerry.device.training.plan import TrainPlan, private_steps
from skerry.device.worker import process_worker
from skerry.errors import InputError
from skerry.records import Float32Array
from skerry.security.privacy.factorisation import CorrelatedSums
from skerry.security.privacy.planning import Option, Wish, options
from skerry.security.privacy.stream import derive_generator, seeded_stream

__all__ = ["Point", "paid_by", "pilot"]

MOST_DEVICES = 24  # in a round of the pilot
_BOUND = 1024  # cells to the clip, for correlated noise
_CLIPS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)  # of the median norm
_EPSILONS = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Point:
    """Accuracy on held-out public examples after a run at this ε (None: without noise or clip) and clip."""

    epsilon: float | None
    clip: float | None
    accuracy: float


@dataclass(frozen=True)
class _Public:
    features: Float32Array
    labels: npt.NDArray[np.int64]
    held_features: Float32Array
    held_labels: npt.NDArray[np.int64]
    classes: int


def paid_by(scenario: Scenario, wish: Wish) -> Wish:
    """The wish with as many noisy steps in a pass as the scenario's way of training takes."""
    return replace(wish, replays=private_steps(1, 1.0, scenario.training.adversarial))


def pilot(scenario: Scenario, wish: Wish, progress: Callable[[str], None] = lambda _: None) -> list[Point]:
    """The utility curve: clips up to the median norm at the wished ε, then ε around it at the best clip.

    Args:
        scenario: names the task whose public data are used, the model, and the training.
        wish: the plan.
        progress: is told what is being done.

    Raises:
        InputError: the scenario trains more than a head, or has too few labelled public examples.
        MissingDependencyError: a package that the base needs is absent.
    """
    wish = paid_by(scenario, wish)
    public = _public(scenario, progress)
    norm = _typical_norm(public, scenario, wish)
    found = [Point(None, None, _run(public, scenario, wish, None, math.inf))]
    progress("without noise")
    for share in _CLIPS:
        progress(f"clip {share * norm:.3g}")
        found.append(Point(wish.epsilon, share * norm, _run(public, scenario, wish, wish.epsilon, share * norm)))
    best = max(found[1:], key=lambda point: point.accuracy).clip
    assert best is not None
    for factor in _EPSILONS:
        if factor != 1:
            progress(f"ε = {factor * wish.epsilon:g}")
            accuracy = _run(public, scenario, wish, factor * wish.epsilon, best)
            found.append(Point(factor * wish.epsilon, best, accuracy))
    return found


def _public(scenario: Scenario, progress: Callable[[str], None]) -> _Public:
    if scenario.model.trainable != "head":
        raise InputError(
            f'a pilot trains a head; this scenario has model.trainable = "{scenario.model.trainable}"',
            mend="name a scenario that trains a head, or plan without --pilot",
        )
    task = process_worker().task(scenario.task, scenario.model)
    digest = build_local_model(scenario.model, task, progress)
    model = load_local_model(scenario.model, digest, task)
    data = task.public_data()
    labelled = np.flatnonzero(data.y >= 0)
    if len(labelled) < 30 * len(task.classes):
        raise InputError(f"the task {task.name} has {len(labelled)} labelled public examples: too few for a pilot")
    order = labelled[derive_generator(0, "pilot").permutation(len(labelled))]
    progress(f"features of {len(order)} public examples")
    features, labels = model.prepare(data.x[order]), data.y[order]
    cut = 2 * len(order) // 3
    return _Public(features[:cut], labels[:cut], features[cut:], labels[cut:], len(task.classes))


def _typical_norm(public: _Public, scenario: Scenario, wish: Wish) -> float:
    """Median norm of what is clipped, at the start: gradients of examples, or updates of devices."""
    trainer = HeadTrainer(public.classes, public.features.shape[1])
    zero = np.zeros(trainer.layout.size, np.float32)
    generator = derive_generator(0, "pilot norms")
    norms = []
    alone = wish.unit == "example"
    plan = _plain(scenario, wish)
    if alone:
        plan = replace(plan, epochs=1, adversarial="none", adversarial_epsilon=0.0)
    for _ in range(20):
        at = generator.integers(0, len(public.labels), 1 if alone else wish.examples)
        delta = trainer.train(zero, public.features[at], public.labels[at], plan, seeded_stream(0, "order"))
        norms.append(float(np.linalg.norm(delta)))
    rate = scenario.training.learning_rate if wish.unit == "example" else 1.0
    return float(np.median(norms)) / rate


def _run(public: _Public, scenario: Scenario, wish: Wish, epsilon: float | None, clip: float) -> float:
    """Accuracy after all rounds under the plan's best way; without noise and clip where ε is None."""
    trainer = HeadTrainer(public.classes, public.features.shape[1])
    vector = np.zeros(trainer.layout.size, np.float32)
    way = None if epsilon is None else _way(wish, epsilon)
    count = min(MOST_DEVICES, wish.cohort)
    generator = derive_generator(0, "pilot cohorts")
    plan = _plan(scenario, wish, way, clip, count)
    noise = _Noise(way, wish, clip, trainer.layout.size)
    for number in range(wish.rounds):
        deltas = []
        for device in range(count):
            at = generator.integers(0, len(public.labels), wish.examples)
            stream = seeded_stream(0, "pilot", number, device)
            deltas.append(trainer.train(vector, public.features[at], public.labels[at], plan, stream))
        rows = np.array(deltas, np.float64)
        if wish.unit == "device" and way is not None:
            rows *= np.minimum(1.0, clip / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
        vector = (vector + rows.mean(axis=0) + noise.next()).astype(np.float32)
    return float(np.mean(trainer.logits(vector, public.held_features).argmax(1) == public.held_labels))


def _way(wish: Wish, epsilon: float) -> Option:
    return options(replace(wish, epsilon=epsilon))[0]


def _plain(scenario: Scenario, wish: Wish) -> TrainPlan:
    training = scenario.training
    return TrainPlan(
        epochs=wish.steps if wish.unit == "example" else training.epochs,
        learning_rate=training.learning_rate,
        adversarial=training.adversarial,
        adversarial_epsilon=training.adversarial_epsilon if training.adversarial != "none" else 0.0,
        unit="none",
    )


def _plan(scenario: Scenario, wish: Wish, way: Option | None, clip: float, count: int) -> TrainPlan:
    """A device's part; with fewer devices than the plan has, each adds less noise, so that the mean has as much."""
    plain = _plain(scenario, wish)
    if way is None or wish.unit == "device":
        return plain
    return replace(
        plain,
        unit="example",
        clip=clip,
        noise_multiplier=way.noise_multiplier * math.sqrt(count / wish.cohort),
        denominator=wish.examples,
    )


class _Noise:
    """The coordinator's noise in each round's mean. Public data need no protection: floating point will do."""

    def __init__(self, way: Option | None, wish: Wish, clip: float, size: int) -> None:
        self._size = size
        self._scale = 0.0 if way is None or wish.unit == "example" else way.round_noise * clip
        self._generator = derive_generator(0, "pilot noise")
        self._stream = seeded_stream(0, "pilot noise")
        self._correlated: CorrelatedSums | None = None
        if way is not None and way.name == "in_turns":
            self._correlated = CorrelatedSums(way.strategy(wish), _BOUND, way.noise_multiplier, size)
            self._scale = clip / (_BOUND * way.cohort)

    def next(self) -> npt.NDArray[np.float64]:
        """Of the next round, ``(d,)``."""
        if self._correlated is not None:
            return self._scale * self._correlated.release(np.zeros(self._size, np.int64), self._stream)
        return self._generator.normal(scale=self._scale, size=self._size)
