"""Steps of quantized sums at which all runtimes round alike.

A runtime adds two uint8 tensors as floats, a · rₐ + b · r_b + constant with r the ratios of their steps to the sum's,
and rounds. About half-way between two integers it is the order of the operations and their fusing that decides: kernels
for AVX2 multiply and add in one rounding, those for WebAssembly in two, and of 1,500 pictures seven had other features
on a phone than on a server. Convolutions have no such place: their sums are integers, and one multiplication follows.

There are only 65,536 pairs. So the sum's step, whose last digits mean nothing, is moved by the fewest float32 numbers
at which every order rounds every pair alike.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import numpy.typing as npt

from skerry.device.compression.graph import Graph
from skerry.device.compression.quantize import Quantization, QuantizedWeights
from skerry.device.compression.scale import Scale
from skerry.errors import RunFailedError
from skerry.records import Float32Array

__all__ = ["clear_of_ties", "ties"]

_TRIES = 1000  # to each side: one step in about ten will do
_LARGEST_BIAS = 2**31 - 1
_BYTES = np.arange(256, dtype=np.float64)

_Exact = npt.NDArray[np.float64]
"""Numbers of few enough bits that float64 holds them, and sums of three of them, exactly."""


def clear_of_ties(graph: Graph, quantization: Quantization) -> Quantization:
    """The quantization with the steps of additions moved, by about a millionth, so that no pair of bytes is a tie.

    Biases of layers that read a sum are counted in its new step.

    Raises:
        RunFailedError: of all steps in reach none will do.
    """
    tensors = dict(quantization.tensors)
    for node in graph.nodes:
        if node.op == "add" and all(name in tensors for name in (*node.inputs, node.name)):
            a, b = (tensors[name] for name in node.inputs)
            tensors[node.name] = _clear(node.name, a, b, tensors[node.name])
    weights = {
        node.name: _counted_in(tensors[node.inputs[0]].step, quantization.weights[node.name])
        for node in graph.nodes
        if node.name in quantization.weights
    }
    return replace(quantization, tensors=tensors, weights=weights)


def _clear(name: str, a: Scale, b: Scale, total: Scale) -> Scale:
    steps = (replace(total, step=step) for step in _nearby(total.step))
    found = next((one for one in steps if not ties(a, b, one)), None)
    if found is None:
        raise RunFailedError(
            f"of {2 * _TRIES + 1} steps of a quantized sum there is none at which all runtimes round alike",
            where=name,
            mend="build the base with other public data: its range gives the steps",
        )
    return found


def ties(a: Scale, b: Scale, total: Scale) -> int:
    """How many of the 65,536 pairs of bytes some order of float32 operations rounds to another byte than the others.

    Args:
        a: of the first tensor.
        b: of the second one.
        total: of their sum.
    """
    low, high = (pick.reduce(list(_sums(a, b, total))) for pick in (np.minimum, np.maximum))
    return int((low != high).sum())


def _sums(a: Scale, b: Scale, total: Scale) -> Iterator[npt.NDArray[np.uint8]]:
    """``(256, 256)`` the sum of each pair, by each order."""
    left, right = (float(np.float32(one.step) / np.float32(total.step)) for one in (a, b))
    zeros = _fusings(np.array(left * a.zero), np.array(right * b.zero))
    constants = {float(_rounded(total.zero - _rounded(x + y))) for x, y in zeros}
    products = list(_fusings(left * _BYTES[:, None], right * _BYTES[None, :]))
    for constant, (x, y) in product(constants, products):
        yield _byte(_rounded(_rounded(x + y) + constant))
        yield _byte(_rounded(x + _rounded(y + constant)))
        yield _byte(_rounded(y + _rounded(x + constant)))
    from_zero = _BYTES[:, None] - a.zero, _BYTES[None, :] - b.zero
    for x, y in _fusings(left * from_zero[0], right * from_zero[1]):
        yield _byte(np.rint(_rounded(x + y)) + total.zero)
    x, y = (_rounded(np.float32(one.step) * d) for one, d in zip((a, b), from_zero, strict=True))
    yield _byte(np.rint(_rounded(_rounded(x + y) / np.float32(total.step))) + total.zero)  # as the graph says it


def _fusings(x: _Exact, y: _Exact) -> Iterator[tuple[_Exact, _Exact]]:
    """Two products, each rounded before it is added, or not."""
    return product((x, _rounded(x)), (y, _rounded(y)))


def _rounded(x: _Exact) -> _Exact:
    return np.asarray(x).astype(np.float32).astype(np.float64)


def _byte(x: _Exact) -> npt.NDArray[np.uint8]:
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def _nearby(step: float) -> Iterator[float]:
    """The step, and float32 numbers ever further away from it."""
    below = above = np.float32(step)
    yield step
    for _ in range(_TRIES):
        below, above = np.nextafter(below, np.float32(0)), np.nextafter(above, np.float32(np.inf))
        yield float(above)
        yield float(below)


def _counted_in(step: float, weights: QuantizedWeights) -> QuantizedWeights:
    """A layer's constants for an input of that step."""
    bias_scale: Float32Array = (weights.scale * np.float32(step)).astype(np.float32)
    if np.array_equal(bias_scale, weights.bias_scale):
        return weights
    bias = np.rint(weights.bias * weights.bias_scale.astype(np.float64) / bias_scale)
    return replace(weights, bias=np.clip(bias, -_LARGEST_BIAS, _LARGEST_BIAS).astype(np.int32), bias_scale=bias_scale)
