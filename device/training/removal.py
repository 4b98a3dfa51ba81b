"""Removal of backdoors after training: silence what clean examples do not use, then unlearn the shortcuts left."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

from skerry.device.evaluation.shortcuts import Shortcut, find_shortcuts, suspicious
from skerry.device.training.unlearning import fine_prune, unlearn
from skerry.records import Float32Array

__all__ = ["Removal", "remove_backdoor"]

_SCANNED = 256  # examples that shortcuts are sought on


@dataclass(frozen=True)
class Removal:
    """What was done.

    Attributes:
        silenced: channels that were pruned.
        unlearned: suspicious shortcuts, which were taken away.
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
        progress: told how many classes were searched, and of how many.

    Raises:
        InputError, RunFailedError: as :mod:`skerry.device.training.unlearning`.
    """
    silenced = fine_prune(network, prune, x, y, seed=seed) if prune is not None else 0
    if not unlearning:
        return Removal(silenced, ())
    low, high = float(x.min()), float(x.max())
    found = suspicious(find_shortcuts(network, x[:_SCANNED], low=low, high=high, progress=progress))
    unlearn(network, x, y, found, seed=seed)
    return Removal(silenced, found)
