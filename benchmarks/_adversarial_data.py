"""Digits and the small network on which adversarial training is measured; shards by writer."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

__all__ = ["EPSILON", "Digits", "as_convolutions", "digits", "network"]

EPSILON = 0.15


@dataclass(frozen=True)
class Digits:
    """8×8 digits from 0 (black) to 1: a stratified fifth is held out; ``writer`` is whose each training digit is."""

    x: np.ndarray
    y: np.ndarray
    writer: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def digits() -> Digits:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    from skerry.device.tasks.digits import STARTS

    x, y = load_digits(return_X_y=True)
    x, y = (x / 16).astype(np.float32).reshape(-1, 1, 8, 8), y.astype(np.int64)
    writer = np.searchsorted(STARTS, np.arange(len(y)), side="right") - 1
    train, test = train_test_split(np.arange(len(y)), test_size=0.2, random_state=0, stratify=y)
    return Digits(x[train], y[train], writer[train], x[test], y[test])


def network(seed: int = 0) -> nn.Sequential:
    """151,306 weights."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(1024, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def as_convolutions(module: nn.Module) -> nn.Sequential:
    """The same function without a layer over a flattened map, which graphs do not have: a 4×4 convolution instead."""
    first, _, second, _, _, wide, _, last = module
    whole = nn.Conv2d(64, 128, 4)
    whole.weight.data = wide.weight.data.reshape(128, 64, 4, 4)
    whole.bias.data = wide.bias.data
    return nn.Sequential(
        first, nn.ReLU(), second, nn.ReLU(), whole, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), last
    )  # fmt: skip
