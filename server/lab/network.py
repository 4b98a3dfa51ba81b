"""A perceptron with two hidden layers and its gradients for many devices at once, in plain float32 algebra."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array

__all__ = ["Perceptron"]

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Perceptron:
    """ReLU between the layers, cross-entropy at the end; all parameters in one flat vector.

    Args:
        widths: inputs, hidden widths, classes.
    """

    widths: tuple[int, ...] = (40, 100, 100, 10)

    @property
    def size(self) -> int:
        """d, the number of parameters."""
        return sum(a * b + b for a, b in pairwise(self.widths))

    def initial(self, rng: np.random.Generator) -> Float32Array:
        """``(d,)`` float32: uniform within ±1/√inputs of each layer, weights and biases."""
        parts = [rng.uniform(-1, 1, a * b + b) / np.sqrt(a) for a, b in pairwise(self.widths)]
        return np.concatenate(parts).astype(np.float32)

    def scores(self, parameters: Float32Array, features: Float32Array) -> Float32Array:
        """``(n, p)`` features to ``(n, classes)``."""
        return self._forward(parameters, features)[-1]

    def accuracy(self, parameters: Float32Array, features: Float32Array, labels: Labels) -> float:
        """Share of the examples whose class is named right."""
        return float((self.scores(parameters, features).argmax(axis=-1) == labels).mean())

    def gradients(self, parameters: Float32Array, features: Float32Array, labels: Labels) -> Float32Array:
        """The gradient of each device's mean loss at the same parameters.

        Args:
            parameters: ``(d,)`` float32.
            features: ``(n, b, p)`` float32, b examples of each of n devices.
            labels: ``(n, b)``.

        Returns:
            ``(n, d)`` float32.
        """
        inputs = self._forward(parameters, features)
        scores = inputs[-1]
        error = np.exp(scores - scores.max(axis=-1, keepdims=True))
        error /= error.sum(axis=-1, keepdims=True)
        np.put_along_axis(error, labels[..., None], np.take_along_axis(error, labels[..., None], -1) - 1.0, axis=-1)
        error /= np.float32(labels.shape[1])
        found = np.empty((len(labels), self.size), np.float32)
        layers = self.layers(parameters)
        end = self.size
        for number in reversed(range(len(layers))):
            weight, _ = layers[number]
            a, b = weight.shape
            found[:, end - b : end] = error.sum(axis=1)
            slope = np.matmul(inputs[number].transpose(0, 2, 1), error)
            found[:, end - b - a * b : end - b] = slope.reshape(len(labels), a * b)
            end -= a * b + b
            if number:
                error = (error @ weight.T) * (inputs[number] > 0)
        return found

    def layers(self, parameters: Float32Array) -> list[tuple[Float32Array, Float32Array]]:
        """Weight ``(inputs, outputs)`` and bias of each layer: views of the parameters."""
        layers, begin = [], 0
        for a, b in pairwise(self.widths):
            middle, end = begin + a * b, begin + a * b + b
            layers.append((parameters[begin:middle].reshape(a, b), parameters[middle:end]))
            begin = end
        return layers

    def _forward(self, parameters: Float32Array, features: Float32Array) -> list[Float32Array]:
        """What enters each layer, and the scores."""
        inputs, layers = [features], self.layers(parameters)
        for number, (weight, bias) in enumerate(layers):
            out = inputs[-1] @ weight + bias
            inputs.append(np.maximum(out, 0) if number < len(layers) - 1 else out)
        return inputs
