"""Training every weight of a small network in float32 by plain SGD: ``model.trainable = "full"``.

Made for many short visits: one network per process whose parameters and gradients are views into two flat vectors,
so that taking a vector in, a step, and giving the change back are one operation each, and nothing is copied or built
for a device. There is no clipping and no noise here: it is for public or synthetic data, with privacy unit ``none``.
"""

import difflib
import importlib
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from skerry.device.training.plan import TrainPlan
from skerry.errors import InputError, ScenarioError
from skerry.records import Float32Array, ParameterLayout

__all__ = ["FullTrainer"]

_NETWORKS = {"cnn": "skerry.device.models.cnn:Cnn"}
_EVALUATION_BATCH = 32  # small enough to stay in the processor's cache, and not to be given back to the system


class FullTrainer:
    """Trains and evaluates one architecture, whoever's data it is given.

    The result of :meth:`train` is a function of its arguments alone: nothing is kept from one device to the next.
    Assumption: one thread uses an instance at a time. Torch is set to one thread for the whole process.

    Args:
        architecture: name of a registered network without running statistics.
        classes: number of outputs.

    Raises:
        ScenarioError: the architecture is not one that can be trained in full; names the near match.
    """

    def __init__(self, architecture: str, classes: int) -> None:
        torch.set_num_threads(1)  # on batches this small a second thread costs more than it does
        self._classes = classes
        self._build = _network(architecture)
        self._model = self._build(classes)
        named = list(self._model.named_parameters())
        self.layout = ParameterLayout(tuple((name, tuple(p.shape)) for name, p in named))
        self._weights = torch.zeros(self.layout.size)
        self._gradient = torch.zeros(self.layout.size)
        start = 0
        for _, parameter in named:
            stop = start + parameter.numel()
            parameter.data = self._weights[start:stop].view_as(parameter)
            parameter.grad = self._gradient[start:stop].view_as(parameter)
            start = stop

    def initial(self, seed: int) -> Float32Array:
        """The network's own random initialisation, ``(d,)``; torch's global generator is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self._build(self._classes)
        return self.layout.join({name: p.detach().numpy() for name, p in model.named_parameters()})

    def prepare(self, x: npt.NDArray[Any]) -> Tensor:
        """Transformed examples as :meth:`train` wants them.

        Args:
            x: ``(n, channels, height, width)``.

        Raises:
            InputError: the network takes examples of another shape.
        """
        shape = self._build.input_shape
        if x.shape[1:] != shape:
            raise InputError(
                f"this network takes examples of shape {shape}, the task gives {x.shape[1:]}",
                where="model.input_size",
                mend=f"set model.input_size = {shape[-1]}, or take a task with {shape[0]}-channel pictures",
            )
        return torch.from_numpy(np.ascontiguousarray(x, np.float32))

    def train(
        self,
        vector: Float32Array,
        inputs: Tensor,
        y: npt.NDArray[np.int64],
        plan: TrainPlan,
        generator: np.random.Generator,
    ) -> Float32Array:
        """Local epochs of mini-batch SGD on the mean cross-entropy.

        Args:
            vector: ``(d,)`` weights to start from; not changed.
            inputs: ``(n, ...)`` from :meth:`prepare`.
            y: ``(n,)`` class indices.
            plan: epochs, learning rate, momentum (not carried over between calls), and batch size, 0 for all.
            generator: gives each epoch's order of the examples.

        Returns:
            ``(d,)`` float32 change of the weights.

        Raises:
            InputError: the plan asks for privacy, which this trainer cannot give.
        """
        if plan.unit != "none":
            raise InputError(
                f"training every weight has no {plan.unit}-level privacy",
                where="privacy.unit",
                mend='set model.trainable = "head", or privacy.unit = "none" for public data',
            )
        targets = torch.from_numpy(y)
        self._weights.numpy()[:] = vector
        velocity = torch.zeros_like(self._weights) if plan.momentum else None
        self._model.train()
        n = len(y)
        size = plan.batch_size or max(1, n)
        for _ in range(plan.epochs):
            order = torch.from_numpy(generator.permutation(n))
            for first in range(0, n, size):
                batch = order[first : first + size]
                self._gradient.zero_()
                functional.cross_entropy(self._model(inputs[batch]), targets[batch]).backward()  # type: ignore[no-untyped-call]
                step = self._gradient
                if velocity is not None:
                    step = velocity.mul_(plan.momentum).add_(self._gradient)
                self._weights.sub_(step, alpha=plan.learning_rate)
        delta: Float32Array = np.subtract(self._weights.numpy(), vector, dtype=np.float32)
        return delta

    def logits(self, vector: Float32Array, inputs: Tensor) -> Float32Array:
        """``(n, classes)`` float32 scores under these weights."""
        self._weights.numpy()[:] = vector
        self._model.eval()
        with torch.no_grad():
            scores = [self._model(batch) for batch in torch.split(inputs, _EVALUATION_BATCH)]
        return torch.cat(scores).numpy()


def _network(architecture: str) -> Any:
    """The network class of that name: built from the number of classes, with an ``input_shape``."""
    if architecture not in _NETWORKS:
        near = difflib.get_close_matches(architecture, _NETWORKS, n=1)
        raise ScenarioError(
            f"{architecture!r} cannot be trained in full",
            where="model.architecture",
            mend=f"did you mean {near[0]!r}?" if near else f"take one of: {', '.join(_NETWORKS)}",
        )
    module, _, name = _NETWORKS[architecture].partition(":")
    return getattr(importlib.import_module(module), name)
