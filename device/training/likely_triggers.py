"""Patches that a backdoor's trigger may have been: what a search finds of it is only the smallest that works.

Around a shortcut, patches of one value are drawn at random, and those are kept that call up its class in the network as
it came. A trigger of three bright places is found as one place and the dark one before it; unlearning that alone leaves
much of the trigger. To unlearn many patches that work comes near to unlearning the one that was planted.

Reference: Qiao, Yang and Li 2019, "Defending Neural Backdoors via Generative Distribution Modeling" (NeurIPS), where a
network is trained to draw the triggers.
"""

import numpy as np
import torch
from torch import Tensor, nn

from skerry.device.evaluation.shortcuts import Shortcut
from skerry.device.training.central import one_thread
from skerry.device.training.inference import inference
from skerry.records import Float32Array

__all__ = ["calls_up", "likely_triggers"]

_DRAWN = 400
_WORKS = 0.5  # share of the other examples that a patch must turn to be kept
_JUDGED = 64  # examples that each drawn patch is tried on
_LARGER = 2.5  # times the shortcut's size: larger patches hide so much that to unlearn them costs accuracy
_SIDE = 4  # a patch has at most this part of each side


def likely_triggers(
    network: nn.Module, x: Float32Array, shortcut: Shortcut, *, drawn: int = _DRAWN, seed: int = 0
) -> tuple[Shortcut, ...]:
    """Patches of one value, about as large as a shortcut and over a part of it, that call up its class.

    Args:
        network: ``(n, channels, height, width)`` to ``(n, classes)``, as it came; not changed.
        x: ``(n, channels, height, width)`` float32 public examples; labels are not needed.
        shortcut: where, and for which class.
        drawn: how many are tried.
        seed: of what is drawn.
    """
    draw = np.random.default_rng(seed)
    channels, height, width = x.shape[1:]
    low, high = float(x.min()), float(x.max())
    place = shortcut.mask.ravel().astype(np.float64)
    area = max(2.0, _LARGER * shortcut.size)
    kept = []
    with one_thread(), inference(network), torch.no_grad():
        others = _others(network, x, shortcut.target)[:_JUDGED]
        for _ in range(drawn):
            row, column = divmod(int(draw.choice(place.size, p=place / place.sum())), width)
            tall = int(draw.integers(1, 1 + _most(height, area)))
            wide = int(draw.integers(1, 1 + _most(width, area / tall)))
            top = min(max(row - int(draw.integers(tall)), 0), height - tall)
            left = min(max(column - int(draw.integers(wide)), 0), width - wide)
            mask = np.zeros((1, height, width), np.float32)
            mask[:, top : top + tall, left : left + wide] = 1
            pattern = np.full((channels, height, width), draw.uniform(low, high), np.float32)
            patch = Shortcut(shortcut.target, float(tall * wide), 0.0, mask, pattern)
            works = _share(network, others, patch)
            if works >= _WORKS:
                kept.append(Shortcut(patch.target, patch.size, works, mask, pattern))
    return tuple(kept)


def calls_up(network: nn.Module, x: Float32Array, patch: Shortcut) -> float:
    """Share of the examples that are taken for another class without the patch and for its class with it."""
    with one_thread(), inference(network), torch.no_grad():
        return _share(network, _others(network, x, patch.target), patch)


def _most(side: int, room: float) -> int:
    return max(1, min(-(-side // _SIDE), int(room)))


def _others(network: nn.Module, x: Float32Array, target: int) -> Tensor:
    given = torch.from_numpy(np.ascontiguousarray(x, np.float32))
    return given[network(given).argmax(1) != target]


def _share(network: nn.Module, others: Tensor, patch: Shortcut) -> float:
    if len(others) == 0:
        return 0.0
    return float((network(patch.on(others)).argmax(1) == patch.target).float().mean())
