"""What a removal after training leaves of a backdoor in the lab's network, and of its accuracy."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from skerry.device.training.central import predict, train_centrally
from skerry.device.training.removal import remove_backdoor
from skerry.records import Float32Array
from skerry.server.lab.mnist1d import LENGTH, mnist1d
from skerry.server.lab.network import Perceptron
from skerry.server.lab.poisons import trigger_of

__all__ = ["Cleaned", "clean", "module", "public_network", "try_network"]

PUBLIC = 1000
"""Labelled examples that the coordinator has for it, of the same kind as the devices'."""

_EPOCHS = 60  # of a network of public examples alone
_OTHER_DRAW = 1 << 20  # seeds of public examples are no seeds of a training


@dataclass(frozen=True)
class Cleaned:
    """A network after the removal.

    Attributes:
        accuracy: on test examples.
        success: share of the test examples of other classes that the lab's trigger makes its class, planted or not.
        silenced: channels of the last hidden layer that were pruned.
        unlearned: classes whose shortcuts were suspicious and were taken away.
        left: share of the public examples that the best patch taken away still turns; None where none was.
    """

    accuracy: float
    success: float
    silenced: int
    unlearned: tuple[int, ...]
    left: float | None


def clean(parameters: Float32Array, seed: int, *, target: int = 0, unlearning: bool = True) -> Cleaned:
    """Remove what may be a backdoor from a trained :class:`Perceptron`, without knowing whether there is one.

    Args:
        parameters: ``(d,)`` float32; not changed.
        seed: of the training whose test examples are used.
        target: class that the trigger calls up with which it is tried; the removal is not told.
        unlearning: False: pruning and the training after it alone.
    """
    network = module(parameters)
    x, y = _public(seed)
    last_hidden = network[-3]
    assert isinstance(last_hidden, nn.Linear)
    found = remove_backdoor(network, x, y, prune=last_hidden, unlearning=unlearning, seed=seed)
    accuracy, success = try_network(network, seed, target)
    classes = tuple(dict.fromkeys(shortcut.target for shortcut in found.unlearned))
    return Cleaned(accuracy, success, found.silenced, classes, found.left)


def public_network(seed: int) -> nn.Sequential:
    """A network that is trained on the coordinator's examples of that seed alone: nobody could poison it."""
    network = module(Perceptron().initial(np.random.default_rng(_OTHER_DRAW + seed)))
    x, y = _public(seed)
    train_centrally(network, x, y, epochs=_EPOCHS, batch_size=64, learning_rate=0.05, seed=seed)
    return network


def try_network(network: nn.Module, seed: int, target: int = 0) -> tuple[float, float]:
    """Accuracy on the test examples of that seed, and how often the lab's trigger of that class works on them."""
    _, test = mnist1d(seed)
    accuracy = float((predict(network, _shaped(test.features)).argmax(1) == test.labels).mean())
    trigger = trigger_of(target)
    stamped = predict(network, _shaped(trigger.stamped(test.features))).argmax(1)
    return accuracy, trigger.success(stamped, test.labels)


def module(parameters: Float32Array) -> nn.Sequential:
    """The perceptron in torch: ``(n, 1, 1, 40)`` to ``(n, 10)``."""
    layers: list[nn.Module] = [nn.Flatten()]
    for weight, bias in Perceptron().layers(parameters):
        linear = nn.Linear(*weight.shape)
        linear.load_state_dict({"weight": torch.from_numpy(weight.T.copy()), "bias": torch.from_numpy(bias.copy())})
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _public(seed: int) -> tuple[Float32Array, npt.NDArray[np.int64]]:
    public, _ = mnist1d(_OTHER_DRAW + seed, train=PUBLIC, test=0)
    return _shaped(public.features), public.labels


def _shaped(features: Float32Array) -> Float32Array:
    return np.ascontiguousarray(features.reshape(-1, 1, 1, LENGTH), np.float32)
