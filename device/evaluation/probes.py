"""Probes: plain rectangles put on public examples, and the class that a model then takes them for.

A rectangle of about a trigger's place, size and value works as the trigger does, so it shows a backdoor at once,
without gradients and through the deployed int8 model itself. What it does to a model that nobody could poison is taken
off where there is one: some classes look like an example with a corner missing.

The thought is that of litmus patterns (Kolouri et al. 2020, "Universal Litmus Patterns", CVPR), with patterns that are
not trained; classes are compared by the median absolute deviation, as in Neural Cleanse (Wang et al., S&P 2019).
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.device.evaluation.deviations import deviations
from skerry.errors import InputError
from skerry.records import Float32Array

__all__ = ["Probe", "Rectangle", "probe_classes", "rectangles", "turned"]

Scores = Callable[[npt.NDArray[Any]], Sequence[Float32Array]]
"""Raw examples to scores of the model, and behind them those of one that nobody could poison, if there is one."""

_PARTS = 4  # a rectangle is this part of each side
_LEAST_SHARE = 0.3  # of examples that a rectangle turns, below which no class is suspicious
_SUSPICIOUS = 3.5  # deviations from the other classes
_LEAST_DEVIATION = 0.05  # some sixty examples of which three turn
_LEAST_CLASSES = 3
_LEAST_SHARE_ALONE = 0.6  # more than of the public model, where classes are too few to compare; not measured


@dataclass(frozen=True)
class Rectangle:
    """A part of an example, all of whose numbers are set to one value.

    Attributes:
        corner: where it begins on each axis of an example but the last, which is of channels.
        sides: its length on each.
        value: of all its numbers.
    """

    corner: tuple[int, ...]
    sides: tuple[int, ...]
    value: float

    def on(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """``(n, …, channels)`` raw examples with the rectangle on each; a new array."""
        stamped = x.copy()
        inside = tuple(slice(a, a + b) for a, b in zip(self.corner, self.sides, strict=True))
        stamped[(slice(None), *inside)] = self.value
        return stamped


@dataclass(frozen=True)
class Probe:
    """What the best rectangle for one class does.

    Attributes:
        target: the class, an index.
        share: of the examples that were taken for other classes, those that it turns into this one.
        public: the same share of a model that nobody could poison; None where there is none that tells classes apart.
        index: how far ``share`` less ``public`` is above the median class, in deviations; None for fewer than three
            classes, which do not compare.
        rectangle: the one with the largest difference.
    """

    target: int
    share: float
    public: float | None
    index: float | None
    rectangle: Rectangle

    @property
    def judged(self) -> bool:
        """Whether there was anything to compare with: other classes, or a public model."""
        return self.index is not None or self.public is not None

    @property
    def suspicious(self) -> bool:
        """Whether no other class is called up so; of two classes, whether the public model's is not."""
        excess = self.share - (self.public or 0.0)
        if self.index is None:
            return self.judged and excess >= _LEAST_SHARE_ALONE
        return self.index > _SUSPICIOUS and excess >= _LEAST_SHARE

    def to_json(self) -> dict[str, Any]:
        """With the rectangle's place."""
        return {**asdict(self), "suspicious": self.suspicious}


def rectangles(shape: Sequence[int], low: float, high: float) -> tuple[Rectangle, ...]:
    """A quarter of each side, at all places half of that apart, dark and bright; the last one ends at the last place.

    >>> [r.corner for r in rectangles((8, 3), 0.0, 1.0)]
    [(0,), (0,), (1,), (1,), (2,), (2,), (3,), (3,), (4,), (4,), (5,), (5,), (6,), (6,)]
    """
    sides = tuple(max(1, side // _PARTS) for side in shape[:-1])
    places = [
        sorted({*range(0, whole - side + 1, max(1, side // 2)), whole - side})
        for whole, side in zip(shape[:-1], sides, strict=True)
    ]
    return tuple(Rectangle(corner, sides, value) for corner in itertools.product(*places) for value in (low, high))


def probe_classes(
    scores: Scores, x: npt.NDArray[Any], *, progress: Callable[[int, int], None] = lambda *_: None
) -> tuple[Probe, ...]:
    """The best rectangle for each class; a function of the arguments alone.

    Args:
        scores: of the model and, behind it, of one that nobody could poison; one that takes all examples for the same
            class says nothing, and is left out.
        x: ``(n, …, channels)`` raw public examples of all classes; labels are not needed.
        progress: told before each rectangle how many were tried, and of how many.

    Raises:
        InputError: no examples, or all their numbers are the same.
    """
    if len(x) == 0 or not x.min() < x.max():
        raise InputError("a model is probed with examples, whose numbers differ", where="scan")
    tried = rectangles(x.shape[1:], float(x.min()), float(x.max()))
    before = [found.argmax(1) for found in scores(x)]
    shares = []
    for number, rectangle in enumerate(tried):
        progress(number, len(tried))
        after = scores(rectangle.on(x))
        shares.append([turned(b, a.argmax(1), a.shape[1]) for b, a in zip(before, after, strict=True)])
    found = np.array(shares)
    compared = len(before) > 1 and len(np.unique(before[1])) > 1
    excess = found[:, 0] - (found[:, 1] if compared else 0.0)
    best = excess.argmax(axis=0)
    enough = len(best) >= _LEAST_CLASSES
    index = deviations(excess.max(axis=0), floor=_LEAST_DEVIATION)
    return tuple(
        Probe(
            target=target,
            share=float(found[row, 0, target]),
            public=float(found[row, 1, target]) if compared else None,
            index=float(index[target]) if enough else None,
            rectangle=tried[row],
        )
        for target, row in enumerate(best.tolist())
    )


def turned(before: npt.NDArray[np.int64], after: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float64]:
    """``(classes,)``: of the examples that were taken for another class, the share that is taken for it after.

    >>> turned(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist()
    [0.5, 0.0]
    """
    others = before[:, None] != np.arange(classes)
    called = others & (after[:, None] == np.arange(classes))
    found: npt.NDArray[np.float64] = called.sum(axis=0) / np.maximum(others.sum(axis=0), 1)
    return found
