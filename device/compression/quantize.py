"""Static int8 quantization of a graph: uint8 activations per tensor, int8 weights per output channel.

Layer by layer, on calibration pictures that are public, two networks run side by side: the float one, and the one
whose earlier layers are already quantized. For each convolution

1. the weights are rounded to int8, per output channel, on a step that cannot saturate (below);
2. the bias takes up the mean error per channel that this rounding and everything before it cause
   (Nagel et al., "Data-Free Quantization", arXiv:1906.04721, section 4.2; here measured, not estimated);
3. the activation's range is the one with the least squared rounding error among shrunk min–max ranges.

**No saturation.** The AVX2 and AVX-512 kernels that onnxruntime uses where the CPU has no VNNI instructions add pairs
of uint8 × int8 products in 16 bits (``vpmaddubsw``) and saturate without a word: measured here, cosine of features to
float fell from 0.987 to 0.825. So in every pair of neighbouring inputs of a channel the weights sum to at most 128 in
magnitude: 255 · 128 < 2¹⁵. Other kernels (VNNI, ARM, WebAssembly) then compute the same integers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skerry.device.compression.graph import Graph, Node
from skerry.device.compression.graph_module import apply_node
from skerry.records import Float32Array

__all__ = ["Quantization", "QuantizedWeights", "Scale", "quantize"]

_LEVELS = 255
_PAIR_LIMIT = 128
_SHRINK = tuple(np.linspace(1.0, 0.5, 21))
_SAMPLE = 60_000


@dataclass(frozen=True)
class Scale:
    """A tensor's map from uint8 to numbers: ``step · (q − zero)``."""

    step: float
    zero: int

    def clamps(self, low: float, high: float) -> bool:
        """Whether saturating at 0 and 255 does all that clamping to ``low … high`` would."""
        return self.low >= low and self.high <= high * (1 + 1e-6)

    @property
    def low(self) -> float:
        """The number that 0 stands for."""
        return -self.step * self.zero

    @property
    def high(self) -> float:
        """The number that 255 stands for."""
        return self.step * (_LEVELS - self.zero)

    def round(self, x: Tensor) -> Tensor:
        """The nearest representable numbers."""
        return (torch.round(x / self.step) + self.zero).clamp_(0, _LEVELS).sub_(self.zero).mul_(self.step)


@dataclass(frozen=True)
class QuantizedWeights:
    """A convolution's constants: ``values · scale`` per output channel, and the bias in accumulator units.

    Attributes:
        values: ``(outputs, inputs/groups, k, k)`` int8.
        scale: ``(outputs,)`` float32.
        bias: ``(outputs,)`` int32.
        bias_scale: ``(outputs,)`` float32, the input's step times ``scale``.
    """

    values: npt.NDArray[np.int8]
    scale: Float32Array
    bias: npt.NDArray[np.int32]
    bias_scale: Float32Array


@dataclass(frozen=True)
class Quantization:
    """Scales of activations by tensor name, and constants of convolutions by node name."""

    tensors: Mapping[str, Scale]
    weights: Mapping[str, QuantizedWeights]


@torch.no_grad()
def quantize(graph: Graph, calibration: Float32Array) -> Quantization:
    """Quantize everything before the features; their pooling and the linear layers after it stay float.

    Args:
        graph: the float network.
        calibration: ``(n, channels, height, width)`` normalised public examples. Two copies of the widest activation
            of all of them are held at once: about 0.8 MB a picture at 64 pixels.
    """
    image = torch.from_numpy(calibration)
    scales = {graph.input: _best_scale(image)}
    weights: dict[str, QuantizedWeights] = {}
    exact, rounded = {graph.input: image}, {graph.input: scales[graph.input].round(image)}
    last_use = graph.last_use()
    for node in graph.nodes:
        if node.op == "linear" or (node.op == "pool" and not node.keepdims):
            break
        target = apply_node(node, [exact[t] for t in node.inputs])
        inputs = [rounded[t] for t in node.inputs]
        if node.op == "conv":
            values, scale = _round_weights(node, scales[node.inputs[0]].step)
            weight = torch.from_numpy(values * scale[:, None, None, None])
            reached = apply_node(node, inputs, weight=weight)
            correction = (target.mean((0, 2, 3)) - reached.mean((0, 2, 3))).numpy()
            weights[node.name] = found = _with_bias(node, values, scale, scales[node.inputs[0]].step, correction)
            assert node.bias is not None
            shift = torch.from_numpy(found.bias * found.bias_scale - node.bias)
            reached += shift[:, None, None]
        else:
            reached = apply_node(node, inputs)
        if node.clamped:
            target.clamp_(node.low, node.high)
            reached.clamp_(node.low, node.high)
        scales[node.name] = _best_scale(target)
        exact[node.name], rounded[node.name] = target, scales[node.name].round(reached)
        for tensor in node.inputs:
            if last_use[tensor] == node.name:
                del exact[tensor], rounded[tensor]
    return Quantization(scales, weights)


def _round_weights(node: Node, input_step: float) -> tuple[npt.NDArray[np.int8], Float32Array]:
    assert node.weight is not None
    assert node.bias is not None
    outputs = len(node.weight)
    # The order in which kernels read a channel's weights: position first, then input channel.
    flat = node.weight.transpose(0, 2, 3, 1).reshape(outputs, -1)
    # A channel whose weights vanish is its bias alone: its step must still let the bias fit into 32 bits.
    step = np.maximum(np.abs(flat).max(1) / 127, np.maximum(np.abs(node.bias), 1e-6) / (input_step * 2**28))
    pairs = _pair_sums(flat)
    if node.groups == 1 and pairs.shape[1]:
        step = np.maximum(step, np.abs(pairs).max(1) / _PAIR_LIMIT)
        while True:  # rounding can add one to a pair: widen those channels' steps a little until none does
            over = np.abs(_pair_sums(np.rint(flat / step[:, None]))).max(1) > _PAIR_LIMIT
            if not over.any():
                break
            step[over] *= 1.002
    step = step.astype(np.float32)
    values = np.clip(np.rint(node.weight / step[:, None, None, None]), -127, 127).astype(np.int8)
    return values, step


def _pair_sums(flat: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    even = flat.shape[1] // 2 * 2
    return flat[:, 0:even:2] + flat[:, 1:even:2]


def _with_bias(
    node: Node, values: npt.NDArray[np.int8], scale: Float32Array, input_step: float, correction: Float32Array
) -> QuantizedWeights:
    assert node.bias is not None
    bias_scale = (scale * np.float32(input_step)).astype(np.float32)
    bias = np.clip(np.rint((node.bias + correction) / bias_scale), -(2**31) + 1, 2**31 - 1).astype(np.int32)
    return QuantizedWeights(values, scale, bias, bias_scale)


def _best_scale(x: Tensor) -> Scale:
    """The range that contains 0 and rounds the tensor's numbers with the least squared error."""
    flat = x.reshape(-1)
    low, high = min(float(flat.min()), 0.0), max(float(flat.max()), 1e-6)
    sample = flat[:: max(1, len(flat) // _SAMPLE)]
    candidates = [_scale(low * shrink, high * shrink) for shrink in _SHRINK]
    errors = [float((c.round(sample.clone()) - sample).square().sum()) for c in candidates]
    return candidates[int(np.argmin(errors))]


def _scale(low: float, high: float) -> Scale:
    step = float(np.float32((high - low) / _LEVELS))
    return Scale(step, round(-low / step))
