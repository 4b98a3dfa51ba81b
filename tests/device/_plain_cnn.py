"""The small network of simulators as torch's layers make it."""

import numpy as np
import torch
from torch import nn


def plain_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(800, 120), nn.ReLU(), nn.Linear(120, 10),
    )  # fmt: skip


def filled(vector: np.ndarray) -> nn.Sequential:
    """Such a network with these weights."""
    network = plain_network()
    nn.utils.vector_to_parameters(torch.from_numpy(vector.copy()), network.parameters())
    return network
