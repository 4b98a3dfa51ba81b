"""What an int8 model means, in torch: integers stand for numbers, and every operation between them is float.

A runtime adds integers and rounds once where this adds floats and rounds; now and then the two fall on either side of a
half, a number is one step off, and in a deep network that step spreads. So runtimes are compared with this reference
as whole networks by a mean error, and operation by operation, each from the inputs that the runtime itself had, to
one step (:mod:`skerry.device.export.compare`).
"""

import numpy as np
import torch
from torch import Tensor, nn

from skerry.device.compression.graph import Graph, Node
from skerry.device.compression.graph_module import apply_node
from skerry.device.compression.quantize import Quantization
from skerry.records import Float32Array

__all__ = ["QuantizedReference", "apply_quantized", "in_batches"]

_BATCH = 16


class QuantizedReference(nn.Module):
    """``(n, channels, height, width)`` float32 to ``(n, outputs)``: the int8 network with rounding, in float."""

    def __init__(self, graph: Graph, quantization: Quantization) -> None:
        super().__init__()
        self._graph = graph
        self._quantization = quantization
        self._last_use = dict(graph.last_use())

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """The network's output."""
        graph = self._graph
        tensors = {graph.input: self._rounded(graph.input, x)}
        for node in graph.nodes:
            y = apply_quantized(node, [tensors[name] for name in node.inputs], self._quantization)
            tensors[node.name] = self._rounded(node.name, y)
            for name in node.inputs:
                if self._last_use[name] == node.name:
                    tensors.pop(name, None)
        return tensors[graph.output]

    def _rounded(self, name: str, x: Tensor) -> Tensor:
        scale = self._quantization.tensors.get(name)
        return x if scale is None else scale.round(x)


def apply_quantized(node: Node, inputs: list[Tensor], quantization: Quantization) -> Tensor:
    """One operation with the constants that its integers stand for, clamped, before its output is rounded."""
    found = quantization.weights.get(node.name)
    if found is None:
        y = apply_node(node, inputs)
    else:
        weight = found.values * found.scale.reshape(-1, *[1] * (found.values.ndim - 1))
        bias = found.bias * found.bias_scale.astype(np.float64)
        y = apply_node(
            node,
            inputs,
            weight=torch.from_numpy(weight.astype(np.float32)),
            bias=torch.from_numpy(bias.astype(np.float32)),
        )
    return torch.clamp(y, node.low, node.high) if node.clamped else y


@torch.no_grad()
def in_batches(module: nn.Module, x: Float32Array) -> Float32Array:
    """A module's output for many examples, a few at a time."""
    parts = [module(torch.from_numpy(x[i : i + _BATCH])).numpy() for i in range(0, len(x), _BATCH)]
    return np.concatenate(parts)
