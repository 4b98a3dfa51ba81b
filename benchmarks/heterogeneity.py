"""What SCAFFOLD, FedProx and q-FFL bring where devices have unlike data (Dirichlet 0.1), beside plain averaging.

Each method's learning rate is chosen among the same ones, by the same criterion, on one seed that is not measured, and
FedProx's μ among two. In the group ``fair`` nothing is tuned: plain averaging and q-FFL both take a rate of 1.
No timing: what is counted are rounds and right answers, so no machine matters.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from _harness import Claim, Samples, main, progress, versions
from _unlike import DEVICES, Method, World, loss, own_accuracies, test_accuracy, trained, world

from skerry.server.lab.network import Perceptron

ALPHA = 0.1
TUNED_ON = 1000
SEEDS = (0, 1, 2, 3, 4)
LAST = 10  # rounds whose mean accuracy is what a method ends with

METHODS: Mapping[str, tuple[Method, ...]] = {
    "fedavg": (Method(1.0),),
    "fedprox": (Method(1.0, proximal=0.01), Method(1.0, proximal=0.1)),
    "scaffold": (Method(1.0, scaffold=True),),
}
Curves = dict[str, tuple[Method, list[list[float]]]]


def _curve(where: World, method: Method, rounds: int, asked: int) -> list[float]:
    return [test_accuracy(where, vector) for vector in trained(where, method, rounds, asked=asked)]


@cache
def _curves(data: str, rounds: int, asked: int, rates: tuple[float, ...]) -> Curves:
    """Of each method, tuned, its accuracies by seed and round."""
    found: Curves = {}
    where = world(data, ALPHA, TUNED_ON)
    for name, variants in METHODS.items():
        tried = {
            one: np.mean(_curve(where, one, rounds, asked)[-LAST:])
            for one in (replace(variant, learning_rate=rate) for variant in variants for rate in rates)
        }
        best = max(tried, key=lambda one: tried[one])
        chosen = f"learning rate {best.learning_rate:g}, μ {best.proximal:g}"
        progress(f"{data}, {asked} of {DEVICES} asked: {name} with {chosen}")
        found[name] = best, [_curve(world(data, ALPHA, seed), best, rounds, asked) for seed in SEEDS]
    return found


def _gains(label: str, data: str, rounds: int, asked: int, rates: tuple[float, ...], bar: float) -> Iterator[Claim]:
    curves = _curves(data, rounds, asked, rates)
    ends = {name: np.array([np.mean(curve[-LAST:]) for curve in of]) * 100 for name, (_, of) in curves.items()}
    what = f"{data}, {asked} of {DEVICES} devices asked, 20 local steps, {rounds} rounds, last {LAST}"
    detail = {
        "accuracy": {name: round(float(np.median(end)), 1) for name, end in ends.items()},
        "learning_rate": {name: method.learning_rate for name, (method, _) in curves.items()},
    }
    for name, least in (("scaffold", bar), ("fedprox", 0.0)):
        gain = Samples((ends[name] - ends["fedavg"]).tolist())
        yield Claim(
            f"{name}_{label}", f"accuracy of {name} less that of fedavg: {what}", gain.median, "points", ">=", least,
            spread=gain.spread, detail=detail,
        )  # fmt: skip
    firsts: list[tuple[int, int]] = []
    for average, corrected in zip(curves["fedavg"][1], curves["scaffold"][1], strict=True):
        target = float(np.mean(average[-LAST:]))
        firsts.append((_first(average, target), _first(corrected, target)))
    ratio = Samples([scaffold / fedavg for fedavg, scaffold in firsts])
    fedavg, scaffold = np.median(firsts, axis=0).tolist()
    yield Claim(
        f"rounds_{label}", f"first round of scaffold with what fedavg ends with, over the first of fedavg: {what}",
        ratio.median, "ratio", "<=", 0.5, spread=ratio.spread, detail={"fedavg": fedavg, "scaffold": scaffold},
    )  # fmt: skip


def _first(curve: list[float], target: float) -> int:
    """The first round with that accuracy; one more than there are where none has."""
    return next((i for i, accuracy in enumerate(curve, 1) if accuracy >= target), len(curve) + 1)


def drift(folder: Path) -> Iterator[Claim]:
    """A convex model that can tell all classes."""
    del folder
    yield from _gains("all", "digits", 60, DEVICES, (0.3, 1.0, 3.0, 10.0), 0.5)
    yield from _gains("quarter", "digits", 60, DEVICES // 4, (0.3, 1.0, 3.0, 10.0), 1.0)


def network(folder: Path) -> Iterator[Claim]:
    """A network that is far from trained."""
    del folder
    yield from _gains("network", "mnist1d", 150, DEVICES // 4, (0.3, 1.0, 3.0), 3.0)


def fair(folder: Path) -> Iterator[Claim]:
    """q-FFL with q = 2 where one model cannot suit all devices, and where it can; two liars of twenty."""
    del folder
    plain = Method(1.0, epochs=5)
    just = replace(plain, fairness=2.0)
    spread, largest, fitting, lied, unbounded = [], [], [], [], []
    for seed in SEEDS:
        cramped = replace(world("mnist1d", ALPHA, seed), network=Perceptron((40, 10)))
        ends = {method: _last(cramped, method, 200) for method in (plain, just)}
        losses = {method: [loss(cramped, end, part) for part in cramped.train] for method, end in ends.items()}
        spread.append(float(np.var(losses[just]) / np.var(losses[plain])))
        largest.append(max(losses[just]) / max(losses[plain]))
        roomy = world("digits", ALPHA, seed)
        worst = {method: _worst(roomy, _last(roomy, method, 60)) for method in (plain, just)}
        fitting.append(100 * (worst[just] - worst[plain]))
        for tolerate, into in ((2, lied), (0, unbounded)):
            end = _last(roomy, replace(just, tolerate=tolerate), 60, liars=2)
            into.append(100 * (test_accuracy(roomy, end) - test_accuracy(roomy, _last(roomy, just, 60))))
        progress(f"fair: seed {seed}")
    rows = (
        ("fair_spread", "variance of devices' losses, over that without: linear model of mnist1d", spread, "<=", 0.6),
        ("fair_largest", "largest loss of a device, over that without: linear model of mnist1d", largest, "<=", 0.97),
        ("fair_fitting", "accuracy on the worst fifth of devices, less that without: digits", fitting, ">=", 0.0),
        ("fair_liars", "accuracy with two liars and tolerate = 2, less that without liars: digits", lied, ">=", -3.0),
    )
    for name, text, values, op, bar in rows:
        found = Samples(values)
        unit = "ratio" if op == "<=" else "points"
        detail = {"tolerate = 0": round(float(np.median(unbounded)), 1)} if name == "fair_liars" else {}
        yield Claim(name, f"q = 2: {text}", found.median, unit, op, bar, spread=found.spread, detail=detail)


def _last(where: World, method: Method, rounds: int, liars: int = 0) -> np.ndarray:
    *_, end = trained(where, method, rounds, liars=liars)
    return end


def _worst(where: World, vector: np.ndarray) -> float:
    return float(np.sort(own_accuracies(where, vector))[: DEVICES // 5].mean())


if __name__ == "__main__":
    main("heterogeneity", {"drift": drift, "network": network, "fair": fair}, versions("numpy", "scikit-learn"))
