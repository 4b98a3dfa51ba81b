"""Seeking and unlearning shortcuts of a network with dropout and batch norm: repeatable, and its state is its own."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from skerry.device.evaluation.shortcuts import find_shortcuts
from skerry.device.training.unlearning import unlearn

CLASSES = 5
X = np.random.default_rng(0).random((40, 1, 8, 8), np.float32)
Y = np.arange(40) % CLASSES


def network() -> nn.Sequential:
    """In training mode but for its batch norm, as one that is fine-tuned with frozen statistics."""
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(4 * 16, CLASSES),
    )
    made[1].eval()
    return made


def modes(module: nn.Module) -> list[bool]:
    return [part.training for part in module.modules()]


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def sought(module: nn.Module):
    return find_shortcuts(module, X, low=0.0, high=1.0, steps=15)


def test_the_search_is_a_function_of_its_arguments_and_leaves_the_network_as_it_came() -> None:
    module = network()
    before, kept = state(module), modes(module)
    first = sought(module)
    torch.manual_seed(1)
    second = sought(module)
    assert [(s.size, s.works) for s in first] == [(s.size, s.works) for s in second]
    assert all(np.array_equal(a.pattern, b.pattern) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert modes(module) == kept
    assert all(weights.grad is None for weights in module.parameters())


def test_the_mode_comes_back_when_the_search_is_stopped() -> None:
    module = network()
    kept = modes(module)

    def stop(_done: int, _of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_shortcuts(module, X, low=0.0, high=1.0, steps=2, progress=stop)
    assert modes(module) == kept


def test_unlearning_is_repeatable_moves_no_statistics_and_leaves_no_gradients() -> None:
    module = network()
    before, kept = state(module), modes(module)
    again = copy.deepcopy(module)
    found = sought(module)[:1]
    unlearn(module, X, Y, found, steps=5)
    torch.manual_seed(1)
    unlearn(again, X, Y, found, steps=5)
    after = module.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in again.state_dict().items())
    assert all(torch.equal(before[name], after[name]) for name, _ in module.named_buffers())
    assert not torch.equal(before["0.weight"], after["0.weight"])
    assert modes(module) == kept
    assert all(weights.grad is None for weights in module.parameters())
