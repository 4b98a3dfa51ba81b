"""Real training over a schedule: many phones at once, each from the vector that it was given.

The network is a perceptron with one hidden layer over given features: small enough that ten thousand phones fit one
core, not convex, and trained as everywhere in federated averaging, by some passes of gradient descent over a phone's
own examples. All phones of a step are one batch of matrix products; a phone that was asked and did not answer costs
nothing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from skerry.errors import AggregationError, InputError
from skerry.records import Float32Array, ParameterLayout
from skerry.server.engines.virtual.phone_data import PhoneData
from skerry.server.engines.virtual.schedule import Phones, Step
from skerry.strategies.averaging import released
from skerry.strategies.buffered import BufferedRule
from skerry.strategies.optimizers import ServerOptimizer

__all__ = ["Learning", "Perceptrons", "Point", "learn"]

_BATCH = 4_000_000  # numbers of all phones' vectors in one batch of products: 16 MB


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How phones and server learn.

    Attributes:
        rule: over the answers of a step.
        optimizer: moves the model.
        learning_rate: of a phone.
        epochs: passes of a phone over its examples, each one step of gradient descent on all of them.
        hidden: units of the hidden layer.
    """

    rule: BufferedRule
    optimizer: ServerOptimizer
    learning_rate: float = 0.1
    epochs: int = 5
    hidden: int = 32

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < float("inf") or self.epochs < 1 or self.hidden < 1:
            raise InputError("learning needs learning_rate > 0, and at least one epoch and hidden unit")


@dataclass(frozen=True)
class Point:
    """After a step: seconds since the schedule began, accuracy on held-out examples, answers used so far."""

    step: int
    seconds: float
    accuracy: float
    answers: int


@dataclass(frozen=True)
class Perceptrons:
    """Networks of one shape, as rows of a matrix of their vectors."""

    features: int
    hidden: int
    classes: int

    @property
    def layout(self) -> ParameterLayout:
        """Where each tensor lies in a vector."""
        return ParameterLayout(
            (
                ("inner.weight", (self.features, self.hidden)),
                ("inner.bias", (self.hidden,)),
                ("outer.weight", (self.hidden, self.classes)),
                ("outer.bias", (self.classes,)),
            )
        )

    def initial(self, seed: int) -> Float32Array:
        """He's initialisation of the hidden layer, nothing in the outer one: all classes are alike."""
        generator = np.random.default_rng([seed, 21])
        inner = generator.normal(0.0, np.sqrt(2 / self.features), (self.features, self.hidden))
        vector = np.zeros(self.layout.size, np.float32)
        vector[: inner.size] = inner.ravel()
        return vector

    def logits(self, vector: Float32Array, x: Float32Array) -> Float32Array:
        """``(n, classes)`` scores of one network."""
        part = self.layout.split(vector)
        inner = np.maximum(x @ part["inner.weight"] + part["inner.bias"], 0)
        scores: Float32Array = inner @ part["outer.weight"] + part["outer.bias"]
        return scores

    def descend(
        self,
        starts: Float32Array,
        examples: tuple[Float32Array, Phones, Float32Array],
        *,
        learning_rate: float,
        epochs: int,
    ) -> Float32Array:
        """What each network moved by, ``(m, d)``, when it descends its own mean cross-entropy.

        Args:
            starts: ``(m, d)``.
            examples: ``(m, l, f)`` features, ``(m, l)`` classes and ``(m, l)`` weights.
            learning_rate: of plain gradient descent.
            epochs: steps.
        """
        x, y, weights = examples
        vectors = starts.copy()
        size, (f, h, c) = len(starts), (self.features, self.hidden, self.classes)
        a, b, e = f * h, f * h + h, f * h + h + h * c
        inner_w, inner_b = vectors[:, :a].reshape(size, f, h), vectors[:, None, a:b]  # views: they are moved in place
        outer_w, outer_b = vectors[:, b:e].reshape(size, h, c), vectors[:, None, e:]
        target = np.zeros((*y.shape, c), np.float32)
        np.put_along_axis(target, y[..., None], 1.0, axis=2)
        turned = x.transpose(0, 2, 1)
        for _ in range(epochs):
            inner = np.maximum(x @ inner_w + inner_b, 0)
            scores = inner @ outer_w + outer_b
            scores -= scores.max(axis=2, keepdims=True)
            np.exp(scores, out=scores)
            slope = (scores / scores.sum(axis=2, keepdims=True) - target) * weights[..., None]
            back = (slope @ outer_w.transpose(0, 2, 1)) * (inner > 0)
            outer_w -= learning_rate * (inner.transpose(0, 2, 1) @ slope)
            outer_b -= learning_rate * slope.sum(axis=1, keepdims=True)
            inner_w -= learning_rate * (turned @ back)
            inner_b -= learning_rate * back.sum(axis=1, keepdims=True)
        vectors -= starts
        return vectors


def learn(
    steps: Iterable[Step], data: PhoneData, learning: Learning, *, seed: int, reach: int = 100, every: int = 1
) -> Iterator[Point]:
    """Train along a schedule, and tell after every so many steps how good the model is.

    A step without an answer, or with too few for the rule, leaves the model as it is.

    Args:
        steps: in order, from the first on; may go on for ever.
        data: of the schedule's phones.
        learning: rule, optimizer, and how phones train.
        seed: of the initial vector.
        reach: no answer of the schedule is staler than this; vectors before that are let go.
        every: evaluate after so many steps.
    """
    networks = Perceptrons(data.x.shape[1], learning.hidden, data.classes)
    vectors = {0: networks.initial(seed)}
    moments = learning.optimizer.start(networks.layout.size)
    answers, opened = 0, None
    for step in steps:
        opened = step.began if opened is None else opened
        vector = vectors[step.number - 1]
        if len(step.phones):
            deltas = _deltas(networks, vectors, step, data, learning)
            try:
                moved = learning.rule(deltas, step.staleness)
                vector, moments = learning.optimizer(vector, moved, moments)
            except AggregationError:
                pass  # too few answers for the rule: as in a run, the step is skipped
        vectors[step.number] = vector
        vectors.pop(step.number - 1 - reach, None)
        answers += len(step.phones)
        if step.number % every == 0:
            found = networks.logits(released(vector, moments), data.test_x).argmax(axis=1)
            yield Point(step.number, step.ended - opened, float((found == data.test_y).mean()), answers)


def _deltas(
    networks: Perceptrons, vectors: dict[int, Float32Array], step: Step, data: PhoneData, learning: Learning
) -> Float32Array:
    """``(m, d)`` of the step's phones, in batches of phones with about as many examples each."""
    found = np.empty((len(step.phones), networks.layout.size), np.float32)
    order = np.argsort(data.counts[step.phones], kind="stable")
    size = max(1, _BATCH // networks.layout.size)
    for first in range(0, len(order), size):
        some = order[first : first + size]
        starts = np.stack([vectors[base] for base in step.base[some].tolist()])
        examples = data.of(step.phones[some])
        with np.errstate(over="ignore", invalid="ignore"):  # no rule takes what a phone that diverges would send
            found[some] = networks.descend(
                starts, examples, learning_rate=learning.learning_rate, epochs=learning.epochs
            )
    return found
