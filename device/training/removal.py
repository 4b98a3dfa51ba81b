"""Removal of backdoors after training: find shortcuts, silence what clean examples do not use, unlearn the shortcuts.

They are sought before anything is changed: pruning and training on clean examples weaken a backdoor and make the patch
that it needs larger, so that the search no longer tells it from what a class needs by nature, while most of it works.
Where a shortcut is far too small, patches around it that work too are unlearned with it: the trigger is one of them, or
like one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

from skerry.device.evaluation.shortcuts import Shortcut, find_shortcuts, suspicious
from skerry.device.training.likely_triggers import calls_up, likely_triggers
from skerry.device.training.unlearning import fine_prune, unlearn
from skerry.records import Float32Array

__all__ = ["Removal", "remove_backdoor"]

_SCANNED = 256  # examples that shortcuts are sought on
_WORTH_UNLEARNING = 2.0  # as in the paper: to unlearn what a class needs by nature costs little, to miss a trigger much
_FAR_TOO_SMALL = 1 / 3  # of the median size: in the lab triggers reach 0.28, what classes need by nature begins at 0.39
_PASSES = 3
_GONE = 0.1  # share of the examples that the best patch may still turn


@dataclass(frozen=True)
class Removal:
    """What was done.

    Attributes:
        silenced: channels that were pruned.
        unlearned: shortcuts that were taken away, one a class.
        likely: patches around them that were taken away with them.
        left: share of the public examples that the best of all these patches still turns; None where there are none.
    """

    silenced: int
    unlearned: tuple[Shortcut, ...]
    likely: int = 0
    left: float | None = None


def remove_backdoor(
    network: nn.Module,
    x: Float32Array,
    y: npt.NDArray[np.int64],
    *,
    prune: nn.Linear | nn.Conv2d | None = None,
    unlearning: bool = True,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Removal:
    """Clean a network in place, whether or not it has a backdoor.

    No guarantee: what works on the attacks that were measured may not on others (docs/attack-lab.md).

    Args:
        network: ``(n, channels, height, width)`` to ``(n, classes)``; parameters that require no gradient stay.
        x: ``(n, channels, height, width)`` float32 public examples that nobody poisoned, in drawn order.
        y: ``(n,)`` their classes.
        prune: a layer with a ReLU behind it whose channels may be silenced, the last hidden one best; None: no pruning.
        unlearning: whether shortcuts are sought and unlearned; without, only pruning is done.
        seed: of all that is drawn.
        progress: told how many classes were searched, and of how many.

    Raises:
        InputError, RunFailedError: as :mod:`skerry.device.training.unlearning`.
    """
    first = _shortcuts(network, x, progress) if unlearning else ()
    found = suspicious(first, _WORTH_UNLEARNING)
    likely = tuple(
        patch
        for shortcut in _far_too_small(found, first)
        for patch in likely_triggers(network, x[:_SCANNED], shortcut, seed=seed)
    )
    silenced = fine_prune(network, prune, x, y, seed=seed) if prune is not None else 0
    if not found:
        return Removal(silenced, ())
    patches = (*found, *likely)
    for attempt in range(_PASSES):
        unlearn(network, x, y, patches, seed=seed + attempt)
        left = max(calls_up(network, x, patch) for patch in patches)
        if left <= _GONE:
            break
    return Removal(silenced, found, len(likely), left)


def _far_too_small(found: Sequence[Shortcut], of: Sequence[Shortcut]) -> list[Shortcut]:
    """Those that no class needs by nature; around others, patches that work are what a class looks like."""
    median = float(np.median([shortcut.size for shortcut in of])) if of else 0.0
    return [shortcut for shortcut in found if shortcut.size < _FAR_TOO_SMALL * median]


def _shortcuts(network: nn.Module, x: Float32Array, progress: Callable[[int, int], None]) -> tuple[Shortcut, ...]:
    low, high = float(x.min()), float(x.max())
    return find_shortcuts(network, x[:_SCANNED], low=low, high=high, progress=progress)
