"""Removal of backdoors after training: find shortcuts, silence what clean examples do not use, unlearn the shortcuts.

They are sought before anything is changed: pruning and training on clean examples weaken a backdoor and make the patch
that it needs larger, so that the search no longer tells it from what a class needs by nature, while most of it works.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

from skerry.device.evaluation.shortcuts import Shortcut, find_shortcuts, suspicious
from skerry.device.training.unlearning import fine_prune, unlearn
from skerry.records import Float32Array

__all__ = ["Removal", "remove_backdoor"]

_SCANNED = 256  # examples that shortcuts are sought on
_WORTH_UNLEARNING = 2.0  # as in the paper: to unlearn what a class needs by nature costs little, to miss a trigger much
_NATURAL = 0.85  # of the median size: what a class needs that has no shortcut; unlearning more costs accuracy
_SEARCHES = 4  # unlearning one patch leaves others that call up the same class


@dataclass(frozen=True)
class Removal:
    """What was done.

    Attributes:
        silenced: channels that were pruned.
        unlearned: shortcuts that were taken away, in the order in which they were found; of a class there may be two.
    """

    silenced: int
    unlearned: tuple[Shortcut, ...]


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
        progress: told how many classes were searched, and of how many; classes that are found are searched again.

    Raises:
        InputError, RunFailedError: as :mod:`skerry.device.training.unlearning`.
    """
    first = _shortcuts(network, x, None, progress) if unlearning else ()
    found = suspicious(first, _WORTH_UNLEARNING)
    silenced = fine_prune(network, prune, x, y, seed=seed) if prune is not None else 0
    if not found:
        return Removal(silenced, ())
    targets = [shortcut.target for shortcut in found]
    natural = _NATURAL * float(np.median([shortcut.size for shortcut in first]))
    unlearn(network, x, y, found, seed=seed)
    for search in range(1, _SEARCHES):
        new = tuple(s for s in _shortcuts(network, x, targets) if s.size < natural)
        if not new:
            break
        found += new
        unlearn(network, x, y, found, seed=seed + search)
    return Removal(silenced, found)


def _shortcuts(
    network: nn.Module,
    x: Float32Array,
    targets: Sequence[int] | None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> tuple[Shortcut, ...]:
    low, high = float(x.min()), float(x.max())
    return find_shortcuts(network, x[:_SCANNED], low=low, high=high, targets=targets, progress=progress)
