"""The network of the task as anybody writes it in torch, for the peers."""

import numpy as np
import torch
from _cnn_data import Labels, Pictures
from torch import Tensor, nn
from torch.nn import functional


class Net(nn.Module):
    """conv16, pool, conv32, pool, linear 120, linear 10: 102,130 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 3), nn.Conv2d(16, 32, 3)
        self.fc1, self.fc2 = nn.Linear(800, 120), nn.Linear(120, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        return self.fc2(functional.relu(self.fc1(x.flatten(1))))


def accuracy(model: nn.Module, x: Pictures, y: Labels) -> float:
    with torch.no_grad():
        return float((model(torch.from_numpy(x)).argmax(1).numpy() == y).mean())


def train(model: nn.Module, x: Tensor, y: Tensor, *, batch: int, rate: float, seed: list[int]) -> None:
    """One local epoch of plain SGD."""
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(y)))
    for first in range(0, len(y), batch):
        index = order[first : first + batch]
        optimizer.zero_grad()
        functional.cross_entropy(model(x[index]), y[index]).backward()
        optimizer.step()
