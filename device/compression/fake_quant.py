"""A graph that sees itself in int8 while it trains: what it computes is what its exported int8 model computes.

Quantization-aware training with frozen scales (Jacob et al., arXiv:1712.05877, section 3, with the ranges of a finished
quantization in place of moving averages). Where the int8 ONNX model has a quantize/dequantize pair, the forward pass
rounds and saturates; the backward pass lets gradients through inside the range and stops them outside it
(straight-through, Bengio et al., arXiv:1308.3432).

Nothing is observed and nothing is remembered: the output for an example is a function of the weights and that example
alone, in training and inference alike, which is what per-example gradients and their privacy rest on.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from skerry.device.compression.graph import Graph
from skerry.device.compression.graph_module import GraphModule
from skerry.device.compression.quantize import Quantization, QuantizedWeights
from skerry.errors import InputError

__all__ = ["FakeQuantConv2d", "FakeQuantGraphModule", "FakeQuantLinear", "WeightGrid", "within_pair_limit"]

_LIMIT = 127
_BIAS_LIMIT = 2**31 - 1
_PAIR_LIMIT = 128  # of two neighbours' sum, so that no kernel saturates: see skerry.device.compression.int8_rounding


@dataclass(frozen=True, eq=False)
class WeightGrid:
    """The int8 numbers of one layer's weights, and the int32 numbers of its bias.

    Attributes:
        scale: ``(outputs,)`` float32, between two weights.
        bias_scale: ``(outputs,)`` float32, between two biases.
        paired: whether neighbouring weights are kept within the limit of a pair.
    """

    scale: Tensor
    bias_scale: Tensor
    paired: bool

    def round(self, weight: Tensor) -> Tensor:
        """The weights as the int8 model has them; gradients pass where a weight is in range."""
        rounded = torch.fake_quantize_per_channel_affine(weight, self.scale, self._zero, 0, -_LIMIT, _LIMIT)
        if not self.paired:
            return rounded
        fixed, scale = rounded.detach(), self._like(weight)
        return rounded + (within_pair_limit(torch.round(fixed / scale)) * scale - fixed)

    def round_bias(self, bias: Tensor) -> Tensor:
        """The biases as the int8 model has them."""
        return torch.fake_quantize_per_channel_affine(bias, self.bias_scale, self._zero, 0, -_BIAS_LIMIT, _BIAS_LIMIT)

    def inside(self, weight: Tensor) -> Tensor:
        """Where gradients pass: booleans in the weights' shape."""
        return torch.round(weight.detach() * self._like(weight).reciprocal()).abs() <= _LIMIT

    @torch.no_grad()
    def integers(self, weight: Tensor, bias: Tensor) -> QuantizedWeights:
        """The layer's constants in the int8 model."""
        values = torch.round(self.round(weight) / self._like(weight))
        wide = torch.round(self.round_bias(bias).double() / self.bias_scale.double()).clamp(-_BIAS_LIMIT, _BIAS_LIMIT)
        return QuantizedWeights(
            np.ascontiguousarray(values.numpy(), np.int8),
            self.scale.numpy().copy(),
            wide.numpy().astype(np.int32),
            self.bias_scale.numpy().copy(),
        )

    @property
    def _zero(self) -> Tensor:
        return torch.zeros(len(self.scale), dtype=torch.int32)

    def _like(self, weight: Tensor) -> Tensor:
        return self.scale.reshape(-1, *[1] * (weight.ndim - 1))


class FakeQuantConv2d(nn.Conv2d):
    """A convolution with plain parameters that are rounded each time it runs.

    Args:
        layer: whose parameters and geometry are taken over.
        grid: the numbers that they are rounded to.
    """

    def __init__(self, layer: nn.Conv2d, grid: WeightGrid) -> None:
        super().__init__(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            groups=layer.groups,
        )
        self.weight, self.bias, self.grid = layer.weight, layer.bias, grid

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        """``(n, c, h, w)`` to ``(n, outputs, h', w')``."""
        assert self.bias is not None
        y: Tensor = self._conv_forward(input, self.grid.round(self.weight), self.grid.round_bias(self.bias))
        return y


class FakeQuantLinear(nn.Linear):
    """A linear layer with plain parameters that are rounded each time it runs.

    Args:
        layer: whose parameters are taken over.
        grid: the numbers that they are rounded to.
    """

    def __init__(self, layer: nn.Linear, grid: WeightGrid) -> None:
        super().__init__(layer.in_features, layer.out_features)
        self.weight, self.bias, self.grid = layer.weight, layer.bias, grid

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        """``(n, inputs)`` to ``(n, outputs)``."""
        return functional.linear(input, self.grid.round(self.weight), self.grid.round_bias(self.bias))


class FakeQuantGraphModule(GraphModule):
    """``(n, channels, height, width)`` float32 to ``(n, outputs)``: the int8 model of a graph, trainable.

    Guarantee: the output is that of ``to_onnx(*module.to_quantized())``, but for numbers that fall on the border
    between two steps in one of both and not in the other. Layers and tensors that the quantization does not name stay
    float, as there. Scales never change.

    Args:
        graph: the float network.
        quantization: its scales; its weights where the graph's own, rounded, are not those, and its biases, which hold
            the correction of the mean error.

    Raises:
        InputError: the quantization is not of this graph.
    """

    def __init__(self, graph: Graph, quantization: Quantization) -> None:
        super().__init__(graph)
        self.quantization = quantization
        known = {node.name: node for node in graph.nodes}
        for name, found in quantization.weights.items():
            layer = self.get_submodule(name) if name in known and known[name].weight is not None else None
            if not isinstance(layer, nn.Conv2d | nn.Linear) or layer.weight.shape != found.values.shape:
                raise InputError("this quantization is not of this network", where=name, mend="quantize it anew")
            paired = layer.groups == 1 if isinstance(layer, nn.Conv2d) else True
            grid = WeightGrid(torch.tensor(found.scale), torch.tensor(found.bias_scale), paired)
            _begin(layer, found, grid)
            rounding = FakeQuantConv2d(layer, grid) if isinstance(layer, nn.Conv2d) else FakeQuantLinear(layer, grid)
            setattr(self, name, rounding)

    def to_quantized(self) -> tuple[Graph, Quantization]:
        """The float graph with the present weights, and its int8 form on the frozen scales.

        Pairs of weights that training moved over the limit are cut to it, as they were in every forward pass: what is
        exported is what was trained.
        """
        weights = {name: self._integers(name) for name in self.quantization.weights}
        return self.to_graph(), replace(self.quantization, weights=weights)

    def _integers(self, name: str) -> QuantizedWeights:
        layer = self.get_submodule(name)
        assert isinstance(layer, FakeQuantConv2d | FakeQuantLinear)
        assert layer.bias is not None
        return layer.grid.integers(layer.weight, layer.bias)

    def _tensor(self, name: str, x: Tensor) -> Tensor:
        scale = self.quantization.tensors.get(name)
        return x if scale is None else torch.fake_quantize_per_tensor_affine(x, scale.step, scale.zero, 0, 255)


def within_pair_limit(values: Tensor) -> Tensor:
    """Whole numbers of which no two neighbours sum to more than 128 in magnitude: both give way by half of the excess.

    Args:
        values: ``(outputs, inputs)`` or ``(outputs, inputs, height, width)`` whole numbers within ±127, which kernels
            read position by position, then input by input.
    """
    order = (0, *range(2, values.ndim), 1)
    flat = values.permute(order)
    shape, flat = flat.shape, flat.flatten(1)
    even = flat.shape[1] // 2 * 2
    pairs = flat[:, :even].reshape(len(flat), -1, 2)
    sums = pairs.sum(2)
    excess = (sums.abs() - _PAIR_LIMIT).clamp(min=0)
    half = torch.floor(excess / 2)
    pairs = pairs - torch.stack([excess - half, half], 2) * sums.sign()[..., None]
    limited = torch.cat([pairs.flatten(1), flat[:, even:]], 1).reshape(shape)
    back = (0, values.ndim - 1, *range(1, values.ndim - 1))
    return limited.permute(back)


@torch.no_grad()
def _begin(layer: nn.Conv2d | nn.Linear, found: QuantizedWeights, grid: WeightGrid) -> None:
    """The float weights where they round to the int8 ones, else those; the corrected biases."""
    assert layer.bias is not None
    scale = found.scale.reshape(-1, *[1] * (found.values.ndim - 1))
    rounded = torch.from_numpy((found.values * scale).astype(np.float32))
    # Compared without the limit on pairs: a weight that only gives way beside its float partner is not the int8 one.
    alone = torch.round(replace(grid, paired=False).round(layer.weight) / torch.from_numpy(scale))
    layer.weight.copy_(torch.where(alone == torch.from_numpy(found.values), layer.weight, rounded))
    layer.bias.copy_(torch.from_numpy((found.bias * found.bias_scale).astype(np.float32)))
