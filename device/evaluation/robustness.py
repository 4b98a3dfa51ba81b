"""How many examples a model still gets right when each is moved, within a ball, to where it does worst.

Attacks follow the gradients of a torch twin of the model: of a float model the same network, of an int8 one the network
that sees itself in int8, whose rounding lets gradients through. What the attacks find is then given to the model
itself, and an example counts as withstood when the model is right on it and on everything that any attack made of it.

``PGD-20``       one random start, 20 steps
``PGD-50 × 5``   five random starts, 50 steps (Madry et al., arXiv:1706.06083)
``AutoAttack``   APGD-CE, targeted APGD and FAB, Square (Croce & Hein, arXiv:2003.01690), by ``pyautoattack``
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from skerry.device.training.adversarial import pgd
from skerry.errors import InputError, MissingDependencyError
from skerry.records import Float32Array
from skerry.security.adversarial import Ball, Norm

__all__ = ["AUTO_ATTACK", "Robustness", "auto_attack", "pgd_attack", "robustness_of"]

AUTO_ATTACK = "AutoAttack"
_BATCH = 256
_LEAST_SIDE = 8
_ATTACKS = {"PGD-20": (20, 1), "PGD-50 × 5": (50, 5)}

Scores = Callable[[Float32Array], Float32Array]


@dataclass(frozen=True)
class Robustness:
    """Accuracy of one model under attacks.

    Attributes:
        norm: of the ball.
        epsilon: its radius, in units of the network's input.
        examples: how many were attacked.
        clean: share that is labelled right before.
        attacks: by attack, the share that is right before and after it.
        worst: share that withstands all of them together.
        twin: share of moved examples that the twin, whose gradients were followed, labels as the model does.
    """

    norm: Norm
    epsilon: float
    examples: int
    clean: float
    attacks: Mapping[str, float]
    worst: float
    twin: float


def robustness_of(
    scores: Scores,
    twin: nn.Module,
    x: Float32Array,
    y: npt.NDArray[np.int64],
    ball: Ball,
    *,
    seed: int = 0,
    auto: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Robustness:
    """Attack the twin and judge the model.

    Args:
        scores: the model: ``(n, ...)`` inputs to ``(n, classes)``.
        twin: the same in torch; its weights are not changed.
        x: ``(n, ...)`` float32 network inputs, n ≥ 1.
        y: ``(n,)`` classes.
        ball: where attacks may go.
        seed: of starts.
        auto: AutoAttack too.
        progress: told which attack begins.

    Raises:
        InputError: nothing to attack.
        MissingDependencyError: AutoAttack is asked for and not installed.
    """
    if not len(x):
        raise InputError("there is nothing to attack", where="robustness", mend="take at least one example")
    if auto:
        _auto_attack_class()
    right = scores(x).argmax(1) == y
    left: dict[str, npt.NDArray[np.bool_]] = {}
    alike: list[npt.NDArray[np.bool_]] = []
    for name, moved in _attacks(twin, x, y, ball, seed, auto=auto, progress=progress):
        given = scores(moved).argmax(1)
        alike.append(given == _labels(twin, moved))
        left[name] = left.get(name, right) & (given == y)
    return Robustness(
        norm=ball.norm,
        epsilon=ball.epsilon,
        examples=len(x),
        clean=float(right.mean()),
        attacks={name: float(stood.mean()) for name, stood in left.items()},
        worst=float(np.logical_and.reduce(list(left.values())).mean()),
        twin=float(np.mean(alike)),
    )


def pgd_attack(
    module: nn.Module,
    x: Float32Array,
    y: npt.NDArray[np.int64],
    ball: Ball,
    *,
    steps: int,
    restarts: int = 1,
    seed: int = 0,
) -> Iterator[Float32Array]:
    """PGD from random starts: where every example ended, ``(n, ...)``, once for each start.

    Steps are 2.5 radii in all, so that every point of the ball can be reached.
    """
    generator = torch.Generator().manual_seed(seed)
    for _ in range(restarts):
        parts = []
        for first in range(0, len(x), _BATCH):
            some, labels = torch.from_numpy(x[first : first + _BATCH]), torch.from_numpy(y[first : first + _BATCH])
            start = torch.rand(some.shape, generator=generator) * 2 - 1
            size = 2.5 * ball.epsilon / steps
            parts.append(pgd(module, some, labels, ball, steps=steps, step_size=size, start=start).numpy())
        yield np.concatenate(parts)


def auto_attack(
    module: nn.Module, x: Float32Array, y: npt.NDArray[np.int64], ball: Ball, *, seed: int = 0, fab: bool = True
) -> Float32Array:
    """``(n, ...)``: what the standard version of AutoAttack makes of the examples; those that withstand it stay.

    Without ``fab`` it takes half the time, and rarely finds less.

    AutoAttack takes numbers from 0 to 1: the range of values is stretched onto them, or where there is none, a range
    that no attack leaves. It also takes pictures that are about square: of other examples, as windows are, the numbers
    are laid out in a square, filled up with some that the network never sees.

    Raises:
        MissingDependencyError: ``pyautoattack`` is not installed.
    """
    made = _auto_attack_class()
    low = ball.low if np.isfinite(ball.low) else float(x.min()) - ball.epsilon
    high = ball.high if np.isfinite(ball.high) else float(x.max()) + ball.epsilon
    width = high - low
    radius, norm = ball.epsilon / width, {"linf": "Linf", "l2": "L2"}[ball.norm]
    inputs = _Square(x.shape[1:])
    attack = made(_Stretched(module, inputs, low, width), norm=norm, eps=radius, seed=seed, version="standard")
    attack.verbose = False
    units = inputs.filled(torch.from_numpy((x - np.float32(low)) / np.float32(width)).clip(0, 1))
    classes = module(torch.from_numpy(x[:1])).shape[1]
    if classes < 5:  # the targeted loss needs four others
        attack.attacks_to_run = ["apgd-ce", "fab-t", "square"]
    if not fab:
        attack.attacks_to_run = [name for name in attack.attacks_to_run if name != "fab-t"]
    attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = min(9, classes - 1)
    with torch.random.fork_rng(devices=[]):
        found = attack.run_standard_evaluation(units, torch.from_numpy(y), batch_size=_BATCH)
    moved: Tensor = found[0] if isinstance(found, tuple) else found
    result: Float32Array = (inputs.original(moved.detach()) * width + low).float().numpy()
    return result


class _Square:
    """Examples of any shape as pictures that are about square and not too small, and back."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape, self._count = shape, math.prod(shape)
        height, width = shape[-2:] if len(shape) == 3 else (0, 0)
        self._fits = min(height, width) >= _LEAST_SIDE and max(height, width) <= 2 * min(height, width)
        self._side = max(_LEAST_SIDE, math.isqrt(self._count - 1) + 1)

    def filled(self, x: Tensor) -> Tensor:
        """To pictures."""
        if self._fits:
            return x
        rows = functional.pad(x.reshape(len(x), -1), (0, self._side**2 - self._count), value=0.5)
        return rows.reshape(len(x), 1, self._side, self._side)

    def original(self, x: Tensor) -> Tensor:
        """And back."""
        return x if self._fits else x.reshape(len(x), -1)[:, : self._count].reshape(len(x), *self._shape)


class _Stretched(nn.Module):
    """A network that is given squares of numbers from 0 to 1."""

    def __init__(self, module: nn.Module, inputs: _Square, low: float, width: float) -> None:
        super().__init__()
        self._module, self._inputs, self._low, self._width = module, inputs, low, width

    def forward(self, x: Tensor) -> Tensor:
        """Scores."""
        scores: Tensor = self._module(self._inputs.original(x) * self._width + self._low)
        return scores


def _attacks(
    twin: nn.Module,
    x: Float32Array,
    y: npt.NDArray[np.int64],
    ball: Ball,
    seed: int,
    *,
    auto: bool,
    progress: Callable[[str], None],
) -> Iterator[tuple[str, Float32Array]]:
    for name, (steps, restarts) in _ATTACKS.items():
        progress(name)
        for moved in pgd_attack(twin, x, y, ball, steps=steps, restarts=restarts, seed=seed):
            yield name, moved
    if auto:
        progress(AUTO_ATTACK)
        yield AUTO_ATTACK, auto_attack(twin, x, y, ball, seed=seed)


@torch.no_grad()
def _labels(module: nn.Module, x: Float32Array) -> npt.NDArray[np.int64]:
    parts = [module(torch.from_numpy(x[i : i + _BATCH])).argmax(1).numpy() for i in range(0, len(x), _BATCH)]
    labels: npt.NDArray[np.int64] = np.concatenate(parts)
    return labels


def _auto_attack_class() -> Any:
    try:
        from pyautoattack import AutoAttack
    except ImportError as error:
        raise MissingDependencyError(
            "AutoAttack is not installed", where="robustness", mend="pip install 'skerry[eval]'"
        ) from error
    return AutoAttack
