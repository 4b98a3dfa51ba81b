"""Taking a backdoor out of a trained network, with public examples that need not be many.

``fine_prune``  channels that clean examples hardly use are silenced, then the network is trained on: Liu, Dolan-Gavitt
                and Garg 2018, "Fine-Pruning" (arXiv:1805.12185)
``unlearn``     the network learns to answer examples under a shortcut as without it: Wang et al. 2019, "Neural Cleanse"
                (S&P), section VI; here its own scores are half of the target, so that it stays what it is elsewhere
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from skerry.device.evaluation.shortcuts import Shortcut
from skerry.device.training.central import one_thread, predict, train_centrally
from skerry.device.training.inference import inference
from skerry.errors import InputError
from skerry.records import Float32Array

__all__ = ["fine_prune", "unlearn"]

_BATCH = 64
_ALLOWANCE = 0.02
_LABELS = 0.5  # weight of an example's label beside what the network answered before
_NOISE = 0.2  # of the examples' standard deviation: a thousand examples are soon learned by heart
_RATED, _RATED_EVERY = 128, 50  # examples on which patches are compared, and steps between
_FOREMOST = 4  # every other step is for one of the best quarter of the patches


def fine_prune(
    network: nn.Module,
    layer: nn.Linear | nn.Conv2d,
    x: Float32Array,
    y: npt.NDArray[np.int64],
    *,
    allowance: float = _ALLOWANCE,
    epochs: int = 5,
    learning_rate: float = 0.01,
    seed: int = 0,
) -> int:
    """Silence the channels of a layer that clean examples use least, then train on; in place.

    As many are silenced as cost no more than ``allowance`` of accuracy on the examples. Behind a ReLU they stay silent
    in training: their weights are 0 and get no gradient.

    Args:
        network: ``(n, …)`` to ``(n, classes)``.
        layer: one of its layers, with a ReLU behind it; the paper takes the last convolution.
        x: ``(n, …)`` float32 clean examples.
        y: ``(n,)`` their classes.
        allowance: share of accuracy that silencing may cost before the training.
        epochs: of the training; 0 for none.
        learning_rate: of the training.
        seed: of the training.

    Returns:
        How many channels were silenced.

    Raises:
        InputError, RunFailedError: as :func:`~skerry.device.training.central.train_centrally`.
    """
    order = np.argsort(_activity(network, layer, x), kind="stable")
    least = _accuracy(network, x, y) - allowance
    silenced = 0
    for channel in order[:-1]:
        kept = [weights[channel].detach().clone() for weights in layer.parameters()]
        _set_channel(layer, int(channel), [torch.zeros_like(weights) for weights in kept])
        if _accuracy(network, x, y) < least:
            _set_channel(layer, int(channel), kept)
            break
        silenced += 1
    if epochs:
        train_centrally(network, x, y, epochs=epochs, batch_size=_BATCH, learning_rate=learning_rate, seed=seed)
    return silenced


def unlearn(
    network: nn.Module,
    x: Float32Array,
    y: npt.NDArray[np.int64],
    shortcuts: Sequence[Shortcut],
    *,
    steps: int = 1000,
    learning_rate: float = 0.02,
    seed: int = 0,
) -> None:
    """Make shortcuts say nothing: scores under each of them come to be those without it; in place.

    Where a label says that an example is not of a shortcut's class, it is not taken for it under the shortcut at all:
    what the network answered before has some of the backdoor in it.

    Every other step is for one of the patches that work best at the moment, the rate falls to nothing along half a
    cosine, and examples are under a little noise.

    Parameters that require no gradient stay, and so do the statistics of norms: the network is in inference mode.

    Args:
        network: ``(n, channels, height, width)`` to ``(n, classes)``.
        x: ``(n, channels, height, width)`` float32 public examples.
        y: ``(n,)`` their classes; negative ones (no label): what the network answered before is all of the target.
        shortcuts: what is unlearned; none changes nothing.
        steps: of descent.
        learning_rate: of the first one, with momentum 0.9.
        seed: of the order and the noise.

    Raises:
        InputError: no examples, or nothing that may change.
    """
    weights = [p for p in network.parameters() if p.requires_grad]
    if len(x) == 0 or not weights:
        raise InputError("unlearning needs examples, and weights that may change", where="unlearning a shortcut")
    if not shortcuts:
        return
    given = torch.from_numpy(np.ascontiguousarray(x, np.float32))
    optimizer = torch.optim.SGD(weights, lr=learning_rate, momentum=0.9)
    draw = np.random.default_rng(seed)
    with one_thread(), inference(network):
        with torch.no_grad():
            own = network(given).softmax(1)
            labels = torch.from_numpy(y)
            share = torch.where(labels < 0, 0.0, _LABELS)[:, None]
            target = (1 - share) * own + share * functional.one_hot(labels.clamp(min=0), own.shape[1])
        noise = _NOISE * float(x.std())
        foremost: Sequence[Shortcut] = shortcuts
        for step in range(steps):
            if step % _RATED_EVERY == 0:
                foremost = _foremost(network, given[:_RATED], shortcuts)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
            rows = torch.from_numpy(draw.integers(len(x), size=_BATCH))
            batch, wanted = given[rows], target[rows]
            batch = batch + noise * torch.from_numpy(draw.standard_normal(tuple(batch.shape), dtype=np.float32))
            chosen = foremost if step % 2 else shortcuts
            patch = chosen[int(draw.integers(len(chosen)))]
            without = _without(wanted, labels[rows], patch.target)
            loss = functional.cross_entropy(network(batch), wanted)
            loss = loss + functional.cross_entropy(network(patch.on(batch)), without)
            for weight, slope in zip(weights, torch.autograd.grad(loss, weights, allow_unused=True), strict=True):
                weight.grad = slope
            optimizer.step()
        optimizer.zero_grad()


def _without(wanted: Tensor, labels: Tensor, target: int) -> Tensor:
    """``(n, classes)`` shares: none for the target where a label names another class, the others as they were."""
    others = wanted.clone()
    others[(labels >= 0) & (labels != target), target] = 0.0
    return others / others.sum(1, keepdim=True)


@torch.no_grad()
def _foremost(network: nn.Module, x: Tensor, patches: Sequence[Shortcut]) -> list[Shortcut]:
    """The quarter of the patches, two at least, that turn most examples at the moment."""
    natural = network(x).argmax(1)
    turned = [int(((network(p.on(x)).argmax(1) == p.target) & (natural != p.target)).sum()) for p in patches]
    order = np.argsort(-np.array(turned), kind="stable")
    return [patches[place] for place in order[: max(2, len(patches) // _FOREMOST)]]


def _activity(network: nn.Module, layer: nn.Module, x: Float32Array) -> npt.NDArray[np.float64]:
    """Mean of each channel of the layer behind a ReLU, over examples and places."""
    seen: list[npt.NDArray[np.float64]] = []

    def look(_layer: nn.Module, _inputs: object, output: Tensor) -> None:
        channels = output.detach().clamp(min=0).flatten(2).mean(2) if output.ndim > 2 else output.detach().clamp(min=0)
        seen.append(channels.double().numpy())

    hook = layer.register_forward_hook(look)
    try:
        predict(network, x)
    finally:
        hook.remove()
    found: npt.NDArray[np.float64] = np.concatenate(seen).mean(axis=0)
    return found


@torch.no_grad()
def _set_channel(layer: nn.Module, channel: int, values: list[Tensor]) -> None:
    for weights, value in zip(layer.parameters(), values, strict=True):
        weights[channel] = value


def _accuracy(network: nn.Module, x: Float32Array, y: npt.NDArray[np.int64]) -> float:
    return float((predict(network, x).argmax(1) == y).mean())
