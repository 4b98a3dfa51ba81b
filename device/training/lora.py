"""Low-rank adapters beside int8 weights (Hu et al. 2021, "LoRA: Low-rank adaptation of large language models").

A frozen layer keeps its weights as int8 with one step per output channel, in buffers, and makes floats of them each
time it runs; memory between steps is a quarter of a float layer's. A pointwise convolution or a linear layer may have
an adapter: ``y = W x + U (D x)`` with ``D`` to ``rank`` channels and ``U`` back. U starts at zero, so the network
starts as it came; D starts from a fixed seed. Adapters are plain layers: every clipping engine knows them.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from skerry.device.compression.graph import Graph, Node
from skerry.device.compression.graph_module import GraphModule
from skerry.device.compression.quantize import Quantization, QuantizedWeights

__all__ = ["Int8Layer", "lora_graph", "lora_module"]


class Int8Layer(nn.Module):
    """A convolution or linear layer with frozen int8 weights, and an adapter when ``rank`` is not 0.

    Args:
        layer: the float layer whose geometry is taken.
        values: int8 weights in its shape.
        scale: ``(outputs,)`` steps.
        bias: ``(outputs,)``.
        rank: channels of the adapter; 0 for none.
        seed: of the adapter's first weights.
    """

    values: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(
        self, layer: nn.Conv2d | nn.Linear, values: Tensor, scale: Tensor, bias: Tensor, *, rank: int, seed: int
    ) -> None:
        super().__init__()
        self.register_buffer("values", values)
        self.register_buffer("scale", scale.reshape(-1, *[1] * (values.ndim - 1)))
        self.register_buffer("bias", bias)
        self._convolution = isinstance(layer, nn.Conv2d)
        if isinstance(layer, nn.Conv2d):
            self._geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
        self.down: nn.Conv2d | nn.Linear | None = None
        self.up: nn.Conv2d | nn.Linear | None = None
        if rank:
            self.down, self.up = _adapter(layer, rank, seed)

    def forward(self, x: Tensor) -> Tensor:
        """What the float layer computes with the rounded weights, and what the adapter adds."""
        weight = self.values.to(self.scale.dtype) * self.scale
        if self._convolution:
            stride, padding, dilation, groups = self._geometry
            y = functional.conv2d(x, weight, self.bias, stride, padding, dilation, groups)
        else:
            y = functional.linear(x, weight, self.bias)
        if self.down is None or self.up is None:
            return y
        added: Tensor = self.up(self.down(x))
        return y + added

    def merged(self) -> Tensor:
        """The float weights with the adapter in them."""
        weight = self.values.to(self.scale.dtype) * self.scale
        if self.down is None or self.up is None:
            return weight
        product = self.up.weight.detach().flatten(1) @ self.down.weight.detach().flatten(1)
        return weight + product.reshape(weight.shape)


def _adapter(layer: nn.Conv2d | nn.Linear, rank: int, seed: int) -> tuple[nn.Conv2d | nn.Linear, nn.Conv2d | nn.Linear]:
    outputs, inputs = layer.weight.shape[:2]
    down: nn.Conv2d | nn.Linear
    up: nn.Conv2d | nn.Linear
    if isinstance(layer, nn.Conv2d):
        down, up = nn.Conv2d(inputs, rank, 1, bias=False), nn.Conv2d(rank, outputs, 1, bias=False)
    else:
        down, up = nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs, bias=False)
    start = np.random.default_rng(seed).normal(size=down.weight.shape) / math.sqrt(inputs)
    with torch.no_grad():
        down.weight.copy_(torch.from_numpy(start))
        up.weight.zero_()
    return down, up


def lora_module(graph: Graph, quantization: Quantization, *, rank: int, trained: frozenset[str]) -> GraphModule:
    """The graph as a module that is frozen but for adapters of ``rank`` on its pointwise and linear layers.

    Args:
        graph: the float network.
        quantization: its int8 weights; a layer that has none there stays frozen in float32, without an adapter.
        rank: channels of each adapter, at most the layer's own.
        trained: layers that are trained whole instead, the classifier.
    """
    module = GraphModule(graph).requires_grad_(requires_grad=False)
    for number, node in enumerate(graph.nodes):
        if node.name in trained:
            module.get_submodule(node.name).requires_grad_(requires_grad=True)
        elif node.name in quantization.weights:
            layer = module.get_submodule(node.name)
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            found = quantization.weights[node.name]
            adapted = min(rank, *found.values.shape[:2]) if _pointwise(node) else 0
            setattr(module, node.name, _int8(layer, found, rank=adapted, seed=number))
    return module


def lora_graph(module: GraphModule) -> Graph:
    """The graph with the adapters multiplied into the weights, in float32."""
    nodes = []
    for node in module.graph.nodes:
        layer = module.get_submodule(node.name) if node.weight is not None else None
        if layer is None:
            nodes.append(node)
        elif isinstance(layer, Int8Layer):
            nodes.append(replace(node, weight=layer.merged().numpy(), bias=layer.bias.numpy().copy()))
        else:
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            assert layer.bias is not None
            weight, bias = layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy()
            nodes.append(replace(node, weight=weight, bias=bias))
    return replace(module.graph, nodes=tuple(nodes))


def _int8(layer: nn.Conv2d | nn.Linear, found: QuantizedWeights, *, rank: int, seed: int) -> Int8Layer:
    bias = torch.from_numpy((found.bias * found.bias_scale).astype(np.float32))
    values, scale = torch.from_numpy(found.values), torch.from_numpy(found.scale)
    return Int8Layer(layer, values, scale, bias, rank=rank, seed=seed)


def _pointwise(node: Node) -> bool:
    assert node.weight is not None
    if node.op == "linear":
        return True
    return node.groups == 1 and node.weight.shape[2:] == (1, 1) and node.stride == (1, 1) and not any(node.pads)
