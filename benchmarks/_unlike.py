"""Twenty devices with unlike data, trained by the parts that real devices and the server are made of.

Local steps, control variates and weights are skerry's own; what is left out is what changes no number: envelopes,
ledgers, disks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

from skerry.device.tasks.dirichlet import dirichlet_split
from skerry.device.training.descent import descend
from skerry.device.training.plan import TrainPlan
from skerry.device.training.scaffold import correction, next_variate
from skerry.records import Float32Array
from skerry.server.lab.mnist1d import mnist1d
from skerry.server.lab.network import Perceptron
from skerry.server.variates import ControlVariates
from skerry.strategies.fairness import fair_weights

DEVICES = 20
LEAST = 10  # examples of a device
OWN_TEST = 0.25  # share of a device's examples that it does not train on

Labels = npt.NDArray[np.int64]
Part = tuple[Float32Array, Labels]


@dataclass(frozen=True)
class World:
    """Examples of each device to train on and to test with, and others for everybody."""

    network: Perceptron
    train: tuple[Part, ...]
    own: tuple[Part, ...]
    test: Part
    seed: int


@dataclass(frozen=True)
class Method:
    """How devices train, and how their updates are weighed."""

    learning_rate: float
    epochs: int = 20
    proximal: float = 0.0
    scaffold: bool = False
    fairness: float = 0.0
    tolerate: int = 0

    @property
    def plan(self) -> TrainPlan:
        return TrainPlan(epochs=self.epochs, learning_rate=self.learning_rate, proximal=self.proximal, unit="none")


@cache
def world(data: str, alpha: float, seed: int) -> World:
    """``digits`` under a linear model, which is convex, or ``mnist1d`` under a small network."""
    generator = np.random.default_rng([seed, 1])
    if data == "digits":
        x, y = load_digits(return_X_y=True)
        order = generator.permutation(len(y))
        x, y = (x[order] / 16).astype(np.float32), y[order].astype(np.int64)
        given, test, network = (x[:1400], y[:1400]), (x[1400:], y[1400:]), Perceptron((64, 10))
    else:
        first, second = mnist1d(seed, train=2000, test=1000)
        given, test = (first.features, first.labels), (second.features, second.labels)
        network = Perceptron((40, 50, 10))
    train, own = [], []
    for indices in dirichlet_split(given[1], DEVICES, alpha=alpha, minimum=LEAST, generator=generator):
        mixed = generator.permutation(indices)
        cut = int(len(mixed) * OWN_TEST)
        own.append((given[0][mixed[:cut]], given[1][mixed[:cut]]))
        train.append((given[0][mixed[cut:]], given[1][mixed[cut:]]))
    return World(network, tuple(train), tuple(own), test, seed)


def trained(
    where: World, method: Method, rounds: int, *, asked: int = DEVICES, liars: int = 0
) -> Iterator[Float32Array]:
    """The vector after each round; the first ``liars`` devices say that their loss is a million."""
    generator = np.random.default_rng([where.seed, 2])
    vector = where.network.initial(np.random.default_rng([where.seed, 3]))
    server = ControlVariates.start(vector.size)
    kept: list[dict[int, Float32Array]] = [{0: np.zeros_like(vector)} for _ in range(DEVICES)]
    plan = method.plan
    for number in range(1, rounds + 1):
        cohort = np.sort(generator.permutation(DEVICES)[:asked]).tolist()
        deltas = []
        for i in cohort:
            told = server.told(str(i))
            own = kept[i][told.counted]
            added = correction(own, told.vector) if method.scaffold else None
            delta = _local(where, i, vector, plan, added)
            kept[i] = {told.counted: own}
            if method.scaffold:
                kept[i][number] = next_variate(own, told.vector, delta, plan)
            deltas.append(delta)
        rows = np.stack(deltas)
        if method.fairness:
            losses = np.array([1e6 if i < liars else loss(where, vector, where.train[i]) for i in cohort])
            weights = fair_weights(
                rows, losses, q=method.fairness, learning_rate=method.learning_rate, tolerate=method.tolerate
            )
            rows = rows * weights[:, None]
        mean = rows.mean(axis=0)
        if method.scaffold:
            server = server.after(number, map(str, cohort), mean, plan, DEVICES)
        vector = vector + mean
        yield vector


def loss(where: World, vector: Float32Array, part: Part) -> float:
    """Mean cross-entropy in nats."""
    scores = where.network.scores(vector, part[0]).astype(np.float64)
    scores -= scores.max(axis=1, keepdims=True)
    logs = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(part[1])), part[1]]
    return float(logs.mean())


def objective(where: World, vector: Float32Array) -> float:
    """What the rounds are to minimise: the mean of the devices' losses."""
    return float(np.mean([loss(where, vector, part) for part in where.train]))


def test_accuracy(where: World, vector: Float32Array) -> float:
    """On examples of nobody."""
    return where.network.accuracy(vector, *where.test)


def own_accuracies(where: World, vector: Float32Array) -> npt.NDArray[np.float64]:
    """Of each device, on its own examples that it did not train on."""
    return np.array([where.network.accuracy(vector, *part) for part in where.own])


def _local(where: World, i: int, vector: Float32Array, plan: TrainPlan, added: Float32Array | None) -> Float32Array:
    x, y = where.train[i]

    def gradient(weights: Float32Array, batch: Labels, out: Float32Array) -> None:
        del batch  # all of them
        with np.errstate(all="ignore"):  # a rate that is tried may be too large
            out[:] = where.network.gradients(weights, x[None], y[None])[0]

    return descend(vector, len(y), gradient, plan, np.arange, added) - vector
