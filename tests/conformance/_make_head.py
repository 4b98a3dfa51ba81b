"""Vectors of head training under privacy: from features, plan and random bits to the delta, every bit of it.

All that is not defined to the last bit by IEEE 754 (exponentials, and the order in which a BLAS adds) comes before the
rounding to integers. The maker sees to it that no number lies where such a bit would tip the rounding.
"""

import math
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np

from skerry.device.training.dp import Grid
from skerry.device.training.head import HeadTrainer
from skerry.device.training.plan import TrainPlan

from ._numbers import dyadic, f32, stream

__all__ = ["make"]

_PLAN = TrainPlan(epochs=3, learning_rate=0.5, unit="example", clip=1.0, noise_multiplier=3.0, denominator=20)
_PLANS = {
    "plain": _PLAN,
    "momentum and pull": replace(_PLAN, momentum=0.9, proximal=0.125, learning_rate=0.3),
    "every second example": replace(_PLAN, epochs=2, sampling_rate=0.5),
    "little noise": replace(_PLAN, noise_multiplier=0.01, clip=0.05),
    "much noise": replace(_PLAN, epochs=2, noise_multiplier=500.0),
}
_MARGIN = 1e-7  # of a cell: far above what exponentials and sums may differ by


def make() -> dict[str, Any]:
    """The file's content."""
    return {
        "source": "device/training/head.py, device/training/descent.py",
        "rounds": [
            *(_round(name, plan, classes=3, features=5, count=11) for name, plan in _PLANS.items()),
            _round("ten classes", _PLAN, classes=10, features=33, count=25),
            _round("no examples", _PLAN, classes=2, features=3, count=0),
        ],
        "left_out": _left_out(),
    }


def _round(name: str, plan: TrainPlan, *, classes: int, features: int, count: int) -> dict[str, Any]:
    label = f"head {name}"
    x = dyadic(f"{label} x", count, features)
    x[:, -1] = 1
    y = (stream(f"{label} y")[1].uint64(count) % np.uint64(classes)).astype(np.int64)
    return {"why": name, **_trained(label, plan, classes, x, y)}


def _left_out() -> dict[str, Any]:
    """Examples that cannot be used weigh nothing and raise nothing."""
    x = dyadic("odd x", 9, 4)
    x[1, 0], x[2, 1], x[3, 2] = math.nan, math.inf, -math.inf
    y = np.array([0, 1, 2, 0, 3, -1, 1, 2, 2**40], np.int64)
    trained = _trained("odd", _PLAN, 3, x, y)
    return trained | {"given": {name: trained.pop(name) for name in ("x", "y")}}


def _trained(label: str, plan: TrainPlan, classes: int, x: Any, y: Any) -> dict[str, Any]:
    trainer = HeadTrainer(classes, x.shape[1], kernel=None)  # numpy goes through Grid.add; the compiled loop does not
    start = dyadic(f"{label} w", trainer.layout.size)
    key, source = stream(f"{label} noise")
    with mock.patch.object(Grid, "add", _careful(Grid.add)):
        delta = trainer.train(start, x, y, plan, source)
    described = {name: getattr(plan, name) for name in ("epochs", "denominator")}
    floats = ("learning_rate", "momentum", "proximal", "clip", "noise_multiplier", "sampling_rate")
    return {
        "classes": classes,
        "features": x.shape[1],
        "plan": described | {name: repr(float(getattr(plan, name))) for name in floats},
        "start": f32(start),
        "x": f32(x),
        "y": y.tolist(),
        "key": key,
        "steps": plan.steps,
        "left_out": trainer.left_out,
        "delta": f32(delta),
    }


def _careful(add: Any) -> Any:
    def wrapped(grid: Grid, rows: Any, total: Any) -> int:
        used = rows[np.isfinite(rows).all(axis=1)]
        assert np.abs(np.abs(used - np.floor(used)) - 0.5).min(initial=1) > _MARGIN, "choose other features"
        return int(add(grid, rows, total))

    return wrapped
