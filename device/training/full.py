"""Training every weight of a small network in float32 by plain SGD: ``model.trainable = "full"``.

Made for many short visits: weights are one flat vector, the network writes its gradient into another, and a step is
one operation on both; nothing is built for a device. There is no clipping and no noise here: it is for public or
synthetic data, with privacy unit ``none``.
"""

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from skerry.device.models.cnn import Cnn
from skerry.device.training.descent import descend
from skerry.device.training.plan import TrainPlan
from skerry.errors import InputError, ScenarioError
from skerry.records import Float32Array, ParameterLayout

__all__ = ["FullTrainer", "Network"]

_EVALUATION_BATCH = 32  # what a pass keeps should stay in the processor's cache


class Network(Protocol):
    """A network that knows its own gradient; its weights are the caller's flat vector."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        ...

    @property
    def layout(self) -> ParameterLayout:
        """Layout of the weights."""
        ...

    def initial(self, generator: np.random.Generator) -> Float32Array:
        """Random ``(d,)`` weights."""
        ...

    def logits(self, weights: Float32Array, x: Float32Array) -> Float32Array:
        """``(n, classes)`` scores of ``(n, *input_shape)`` examples."""
        ...

    def gradient(self, weights: Float32Array, x: Float32Array, y: npt.NDArray[np.int64], out: Float32Array) -> None:
        """Write the gradient of a batch's mean cross-entropy, ``(d,)``, into ``out``."""
        ...


_NETWORKS: Mapping[str, Callable[[int], Network]] = MappingProxyType({"cnn": Cnn})


class FullTrainer:
    """Trains and evaluates one architecture, whoever's data it is given.

    Guarantee: results depend on the arguments alone; one instance may be used by several threads.

    Args:
        architecture: name of a network that can be trained in full.
        classes: number of outputs.

    Raises:
        ScenarioError: there is no such network; names the near match.
    """

    def __init__(self, architecture: str, classes: int) -> None:
        if architecture not in _NETWORKS:
            near = difflib.get_close_matches(architecture, _NETWORKS, n=1)
            raise ScenarioError(
                f"{architecture!r} cannot be trained in full",
                where="model.architecture",
                mend=f"did you mean {near[0]!r}?" if near else f"take one of: {', '.join(_NETWORKS)}",
            )
        self._network = _NETWORKS[architecture](classes)
        self._classes = classes
        self.layout = self._network.layout

    def initial(self, seed: int) -> Float32Array:
        """The network's own random initialisation, ``(d,)``."""
        return self._network.initial(np.random.default_rng(seed))

    def prepare(self, x: npt.NDArray[Any]) -> Float32Array:
        """Transformed examples as :meth:`train` wants them.

        Args:
            x: ``(n, channels, height, width)``.

        Raises:
            InputError: the network takes examples of another shape.
        """
        shape = self._network.input_shape
        if x.shape[1:] != shape:
            raise InputError(
                f"this network takes examples of shape {shape}, the task gives {x.shape[1:]}",
                where="model.input_size",
                mend=f"set model.input_size = {shape[-1]}, or take a task with {shape[0]}-channel pictures",
            )
        return np.ascontiguousarray(x, np.float32)

    def train(
        self,
        vector: Float32Array,
        inputs: Float32Array,
        y: npt.NDArray[np.int64],
        plan: TrainPlan,
        generator: np.random.Generator,
        correction: Float32Array | None = None,
    ) -> Float32Array:
        """Local epochs of mini-batch SGD on the mean cross-entropy.

        Args:
            vector: ``(d,)`` weights to start from; not changed.
            inputs: ``(n, ...)`` from :meth:`prepare`; n may be 0.
            y: ``(n,)`` class indices.
            plan: epochs, learning rate, momentum (starts anew each call), and batch size, 0 for all.
            generator: gives each epoch's order of the examples.
            correction: ``(d,)`` added to each step's gradient: see :mod:`~skerry.device.training.descent`.

        Returns:
            ``(d,)`` float32 change of the weights.

        Raises:
            InputError: the plan asks for privacy, which this trainer cannot give.
        """
        if plan.unit == "example":
            raise InputError(
                f"training every weight has no {plan.unit}-level privacy",
                where="privacy.unit",
                mend='set model.trainable = "head", or privacy.unit = "none" for public data',
            )

        def gradient(weights: Float32Array, batch: npt.NDArray[np.int64], out: Float32Array) -> None:
            self._network.gradient(weights, inputs[batch], y[batch], out)

        weights = descend(vector.astype(np.float32), len(y), gradient, plan, generator.permutation, correction)
        return np.subtract(weights, vector, out=weights)

    def logits(self, vector: Float32Array, inputs: Float32Array) -> Float32Array:
        """``(n, classes)`` float32 scores under these weights."""
        scores = np.empty((len(inputs), self._classes), np.float32)
        for first in range(0, len(inputs), _EVALUATION_BATCH):
            part = slice(first, first + _EVALUATION_BATCH)
            scores[part] = self._network.logits(vector, inputs[part])
        return scores
