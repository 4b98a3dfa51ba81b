"""Shortcuts of a network: small patches that make it take nearly anything for one class, as a backdoor's trigger does.

For each class the smallest patch is sought that does so on public examples: a mask over places, shared by the channels,
and a pattern under it. A class that needs far less than the others has a shortcut that data do not explain.

Reference: Wang et al. 2019, "Neural Cleanse: Identifying and Mitigating Backdoor Attacks in Neural Networks" (S&P).
Sizes are compared by their logarithms here: they are ratios, and the outlier is at the small end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from skerry.device.evaluation.deviations import deviations
from skerry.device.training.central import one_thread
from skerry.device.training.inference import inference
from skerry.errors import InputError
from skerry.records import Float32Array

__all__ = ["LEAST_CLASSES", "SUSPICIOUS", "Shortcut", "anomaly_indices", "find_shortcuts", "suspicious"]

SUSPICIOUS = 3.0
"""Anomaly index above which a class has a shortcut. In the lab honest models reach 3.0; the paper takes 2 for sizes."""

_WORKS = 0.99  # share of examples that a patch must turn, as in the paper
_STEPS = 200
_RATE = 0.1  # of Adam
_PATIENCE = 5  # steps before the price of size moves
_CHANGE = 1.5
_LEAST_DEVIATION = 0.1  # of the logarithm
LEAST_CLASSES = 5
"""A median and a spread need some: of fewer classes none is ever suspicious."""


@dataclass(frozen=True)
class Shortcut:
    """The smallest patch that was found for one class.

    Attributes:
        target: the class, an index.
        size: sum of the mask, in places.
        works: share of the examples of other classes that the patch turns into the class.
        mask: ``(1, height, width)`` float32, 0 … 1.
        pattern: ``(channels, height, width)`` float32, within the range of inputs.
    """

    target: int
    size: float
    works: float
    mask: Float32Array = field(repr=False, compare=False)
    pattern: Float32Array = field(repr=False, compare=False)

    def on(self, x: Tensor) -> Tensor:
        """``(n, channels, height, width)`` examples with the patch on each."""
        mask = torch.from_numpy(self.mask)
        return x * (1 - mask) + mask * torch.from_numpy(self.pattern)


def find_shortcuts(
    network: nn.Module,
    x: Float32Array,
    *,
    low: float,
    high: float,
    steps: int = _STEPS,
    cells: int | None = None,
    targets: Sequence[int] | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> tuple[Shortcut, ...]:
    """The smallest patch for each class; a function of the arguments alone, none of which is changed.

    Args:
        network: ``(n, channels, height, width)`` to ``(n, classes)``, with gradients down to its input; searched in
            inference mode.
        x: ``(n, channels, height, width)`` float32, public examples of all classes; labels are not needed.
        low: least value that an input can have.
        high: largest one.
        steps: of descent for each class.
        cells: the mask has at most this many of them a side, each of one value: on fine pictures a mask of single
            places finds the perturbations that any network has; None: as many as places.
        targets: classes that are searched, in this order; None: all.
        progress: told before each class how many are done, and of how many.

    Raises:
        InputError: no examples, or an empty range.
    """
    if len(x) == 0 or not low < high:
        raise InputError("shortcuts are sought on examples whose values lie in a range", where="scan")
    given = torch.from_numpy(np.ascontiguousarray(x, np.float32))
    with one_thread(), inference(network):
        with torch.no_grad():
            natural = network(given)
        wanted = range(natural.shape[1]) if targets is None else targets
        found = []
        for number, target in enumerate(wanted):
            progress(number, len(wanted))
            others = given[natural.argmax(1) != target]
            found.append(_smallest(network, others if len(others) else given, target, low, high, steps, cells))
    return tuple(found)


def anomaly_indices(sizes: Sequence[float]) -> npt.NDArray[np.float64]:
    """``(c,)``: how far below the median each logarithm of a size is, in deviations of at least 0.1 (10 %).

    >>> anomaly_indices([1.0, 9.0, 10.0, 11.0, 12.0]).round(1).tolist()
    [14.7, 0.7, 0.0, -0.6, -1.2]
    """
    return deviations(-np.log(np.maximum(np.asarray(sizes, np.float64), 1e-9)), floor=_LEAST_DEVIATION)


def suspicious(shortcuts: Sequence[Shortcut], threshold: float = SUSPICIOUS) -> tuple[Shortcut, ...]:
    """Those that work and are far smaller than the others; empty when there are too few classes to compare."""
    if len(shortcuts) < LEAST_CLASSES:
        return ()
    indices = anomaly_indices([shortcut.size for shortcut in shortcuts])
    return tuple(s for s, index in zip(shortcuts, indices, strict=True) if index > threshold and s.works >= _WORKS)


def _smallest(
    network: nn.Module, x: Tensor, target: int, low: float, high: float, steps: int, cells: int | None
) -> Shortcut:
    """Descent on the class's loss and a price of the mask's size, which rises while the patch works and falls else."""
    _, channels, height, width = x.shape
    sides = (height, width) if cells is None else (min(height, cells), min(width, cells))
    mask = torch.full((1, *sides), -2.0, requires_grad=True)
    pattern = torch.zeros((channels, *sides), requires_grad=True)
    optimizer = torch.optim.Adam([mask, pattern], lr=_RATE)
    wanted = torch.full((len(x),), target)
    price, streak = 1.0 / (height * width), 0
    best: Shortcut | None = None
    last: Shortcut | None = None
    for _ in range(steps):
        shown_mask = functional.interpolate(torch.sigmoid(mask)[None], (height, width))[0]
        shown = low + (high - low) * functional.interpolate(torch.sigmoid(pattern)[None], (height, width))[0]
        scores = network(x * (1 - shown_mask) + shown_mask * shown)
        works = float((scores.detach().argmax(1) == target).float().mean())
        last = Shortcut(
            target, float(shown_mask.detach().sum()), works, shown_mask.detach().numpy(), shown.detach().numpy()
        )
        if works >= _WORKS and (best is None or last.size < best.size):
            best = last
        streak = max(1, streak + 1) if works >= _WORKS else min(-1, streak - 1)
        if abs(streak) >= _PATIENCE:
            price *= _CHANGE if streak > 0 else 1 / _CHANGE
            streak = 0
        loss = functional.cross_entropy(scores, wanted) + price * shown_mask.sum()
        mask.grad, pattern.grad = torch.autograd.grad(loss, (mask, pattern))
        optimizer.step()
    if best is not None:
        return best
    assert last is not None
    return last
