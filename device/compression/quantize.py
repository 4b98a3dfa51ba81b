"""Static int8 quantization of a graph: uint8 activations per tensor, int8 weights per output channel.

Layer by layer, on calibration examples that are public, two networks run side by side: the float one, and the one
whose earlier layers are already quantized. For each convolution

1. small layers' weights are refitted to the rounded inputs that they will read (:mod:`~.refit`);
2. the weights are rounded on a step that cannot saturate, the error of each taken up by later ones
   (:mod:`~.int8_rounding`);
3. the bias takes up the mean error per channel that this and everything before it cause
   (Nagel et al., "Data-Free Quantization", arXiv:1906.04721, section 4.2; here measured, not estimated);
4. the activation's range is the one with the least squared rounding error (:mod:`~.scale`).

What each step is worth, and what was tried and left out, is in ADR 12.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skerry.device.compression.graph import Graph, Node
from skerry.device.compression.graph_module import apply_node
from skerry.device.compression.int8_rounding import RoundedWeights, round_compensated, round_nearest
from skerry.device.compression.moments import Moments, measure_moments, to_rows
from skerry.device.compression.refit import LARGEST_REFIT, refit
from skerry.device.compression.scale import Range, Scale, choose_scale
from skerry.device.training.central import one_thread
from skerry.errors import InputError
from skerry.records import Float32Array

__all__ = ["Quantization", "QuantizationRecipe", "QuantizedWeights", "Scale", "StoredWeights", "quantize"]

Rounding = Literal["nearest", "compensated"]
Classifier = Literal["float", "int8"]


@dataclass(frozen=True)
class QuantizationRecipe:
    """How a network is made int8; the defaults are the best found (ADR 12).

    Attributes:
        rounding: of weights: ``nearest``, or ``compensated``, by second moments of what a layer reads.
        refit: move small layers' weights towards what the rounded inputs ask for, before they are rounded.
        bias_correction: measured mean errors go into the biases.
        ranges: of activations: ``minmax``, ``mse`` or ``percentile``.
        classifier: ``float``, or ``int8``: the linear layers and the features that they read too. Of a network of 1,000
            classes they are half of the file. A head that is still to be trained on a device stays float.

    Raises:
        InputError: a value is not one of these.
    """

    rounding: Rounding = "compensated"
    refit: bool = True
    bias_correction: bool = True
    ranges: Range = "mse"
    classifier: Classifier = "float"

    def __post_init__(self) -> None:
        for key, kind in (("rounding", Rounding), ("ranges", Range), ("classifier", Classifier)):
            known = get_args(kind)
            if getattr(self, key) not in known:
                raise InputError(
                    f"{getattr(self, key)!r} is not known", where=f"quantization {key}", mend=f"one of {known}"
                )


@dataclass(frozen=True)
class QuantizedWeights:
    """A layer's constants: ``values · scale`` per output channel, and the bias in accumulator units.

    Attributes:
        values: ``(outputs, inputs/groups, height, width)`` int8; ``(outputs, inputs)`` of a linear layer.
        scale: ``(outputs,)`` float32.
        bias: ``(outputs,)`` int32.
        bias_scale: ``(outputs,)`` float32, the input's step times ``scale``.
    """

    values: npt.NDArray[np.int8]
    scale: Float32Array
    bias: npt.NDArray[np.int32]
    bias_scale: Float32Array


@dataclass(frozen=True)
class StoredWeights:
    """A float linear layer's weight as it is stored: ``values · scale``, a scale for each input.

    Attributes:
        values: ``(outputs, inputs)`` int8.
        scale: ``(inputs,)`` float32.
    """

    values: npt.NDArray[np.int8]
    scale: Float32Array

    def are(self, weight: Float32Array) -> bool:
        """Whether they are that weight, to the last bit."""
        return np.array_equal(self.values * self.scale, weight)


@dataclass(frozen=True)
class Quantization:
    """Scales of activations by tensor name, and constants of layers by node name.

    ``stored`` has, by node name, float weights that a file may hold as integers, where they are still the graph's.
    """

    tensors: Mapping[str, Scale]
    weights: Mapping[str, QuantizedWeights]
    stored: Mapping[str, StoredWeights] = field(default_factory=dict)


@torch.no_grad()
def quantize(graph: Graph, calibration: Float32Array, *, recipe: QuantizationRecipe | None = None) -> Quantization:
    """Quantize everything before the features; their pooling and the linear layers after it stay float by default.

    Guarantee: on one machine the same graph, examples and recipe give the same numbers, whatever number of threads
    the caller uses.

    Args:
        graph: the float network.
        calibration: ``(n, channels, height, width)`` normalised public examples. Two copies of the widest activation
            of all of them are held at once: about 0.8 MB a picture at 64 pixels.
        recipe: how; None for the default one.

    Raises:
        InputError: there are no examples, they do not fit the network's input, or a number in them or in the network
            is not finite.
    """
    _check(graph, calibration)
    with one_thread():
        return _quantize(graph, np.ascontiguousarray(calibration, np.float32), recipe or QuantizationRecipe())


def _quantize(graph: Graph, calibration: Float32Array, recipe: QuantizationRecipe) -> Quantization:
    image = torch.from_numpy(calibration)
    scales = {graph.input: choose_scale(image, recipe.ranges)}
    weights: dict[str, QuantizedWeights] = {}
    exact, rounded = {graph.input: image}, {graph.input: scales[graph.input].round(image)}
    last_use = graph.last_use()
    to_the_end = recipe.classifier == "int8" and any(node.op == "linear" for node in graph.nodes)
    for node in graph.nodes:
        if not to_the_end and (node.op == "linear" or (node.op == "pool" and not node.keepdims)):
            break
        target = apply_node(node, [exact[t] for t in node.inputs])
        if not bool(torch.isfinite(target).all()):
            raise InputError("the network overflows on the calibration examples", where=node.name)
        inputs = [rounded[t] for t in node.inputs]
        if node.op == "conv":
            weights[node.name], reached = _convolution(node, inputs[0], target, scales[node.inputs[0]].step, recipe)
        elif node.op == "linear":
            weights[node.name], reached = _linear(node, inputs[0], target, scales[node.inputs[0]].step, recipe)
        else:
            reached = apply_node(node, inputs)
        if node.clamped:
            target.clamp_(node.low, node.high)
            reached.clamp_(node.low, node.high)
        if to_the_end and node.name == graph.output:  # scores stay float
            break
        scales[node.name] = choose_scale(target, recipe.ranges)
        exact[node.name], rounded[node.name] = target, scales[node.name].round(reached)
        for tensor in set(node.inputs):
            if last_use[tensor] == node.name:
                del exact[tensor], rounded[tensor]
    return Quantization(scales, weights)


def _convolution(
    node: Node, x: Tensor, target: Tensor, input_step: float, recipe: QuantizationRecipe
) -> tuple[QuantizedWeights, Tensor]:
    """A convolution's constants, and what it gives with them from the rounded input ``x``, before its clamp."""
    assert node.weight is not None
    assert node.bias is not None
    values, scale = _round(node, x, target, input_step, recipe)
    weight = torch.from_numpy(values * scale[:, None, None, None])
    reached = apply_node(node, [x], weight=weight)
    correction = np.zeros(len(scale), np.float32)
    if recipe.bias_correction:
        correction = (target.mean((0, 2, 3)) - reached.mean((0, 2, 3))).numpy()
    bias_scale = (scale * np.float32(input_step)).astype(np.float32)
    bias = np.clip(np.rint((node.bias + correction) / bias_scale), -(2**31) + 1, 2**31 - 1).astype(np.int32)
    reached += torch.from_numpy((bias * bias_scale - node.bias).astype(np.float32))[:, None, None]
    return QuantizedWeights(values, scale, bias, bias_scale), reached


def _linear(
    node: Node, x: Tensor, target: Tensor, input_step: float, recipe: QuantizationRecipe
) -> tuple[QuantizedWeights, Tensor]:
    """The same for a linear layer, which is a convolution of one pixel."""
    assert node.weight is not None
    pixel = replace(node, op="conv", weight=node.weight[:, :, None, None])
    found, reached = _convolution(pixel, x[:, :, None, None], target[:, :, None, None], input_step, recipe)
    return replace(found, values=found.values[:, :, 0, 0]), reached[:, :, 0, 0]


def _round(node: Node, x: Tensor, target: Tensor, input_step: float, recipe: QuantizationRecipe) -> RoundedWeights:
    assert node.weight is not None
    assert node.bias is not None
    rows = to_rows(node.weight, node.groups)
    refits = recipe.refit and len(x) > 1 and rows.shape[2] <= LARGEST_REFIT
    if not refits and recipe.rounding == "nearest":
        return round_nearest(node, rows, input_step)
    wanted = target - torch.from_numpy(node.bias)[:, None, None]
    halves = [_moments(node, x[half::2], wanted[half::2], recipe) for half in range(min(2, len(x)))]
    if refits:
        rows = refit(rows, *halves)
    if recipe.rounding == "nearest":
        return round_nearest(node, rows, input_step)
    return round_compensated(node, rows, input_step, sum(halves[1:], halves[0]).covariance())


def _moments(node: Node, x: Tensor, wanted: Tensor, recipe: QuantizationRecipe) -> Moments:
    found = measure_moments(node, x, wanted)
    return found if recipe.bias_correction else found.about_zero()


def _check(graph: Graph, calibration: Float32Array) -> None:
    if len(calibration) == 0:
        raise InputError("there are no calibration examples", mend="give some public examples, 128 are plenty")
    if calibration.shape[1:] != graph.input_shape:
        raise InputError(
            f"calibration examples of shape {calibration.shape[1:]} for a network of input {graph.input_shape}",
            mend="transform them as the network's task does",
        )
    bad = ~np.isfinite(calibration).reshape(len(calibration), -1).all(1)
    if bad.any():
        raise InputError(
            f"{int(bad.sum())} calibration examples hold NaN or infinity",
            where=f"example {int(np.argmax(bad))}",
            mend="clean or drop them",
        )
    for node in graph.nodes:
        if node.weight is not None and not (np.isfinite(node.weight).all() and np.isfinite(node.bias).all()):  # type: ignore[arg-type]
            raise InputError("a weight is NaN or infinite", where=node.name, mend="train the network again")
