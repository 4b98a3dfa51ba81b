"""A graph as a torch module: plain layers named as the graph's nodes, trainable, and back to a graph again."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional

from skerry.device.compression.graph import Graph, Node
from skerry.errors import InputError

__all__ = ["GraphModule", "apply_node"]


class GraphModule(nn.Module):
    """``(n, channels, height, width)`` float32 to ``(n, outputs)``: what the graph computes, to rounding.

    Each convolution is one ``nn.Conv2d`` and each linear layer one ``nn.Linear``, an attribute named as the node, so
    ``state_dict`` has ``<node>.weight`` and ``<node>.bias``. Training, hooks and pruning see ordinary layers; the
    norms are folded, so a batch's examples do not meet.

    Args:
        graph: the network.

    Raises:
        InputError: the graph is not well formed, or a node's name cannot be that of a layer.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self._last_use = dict(graph.last_use())
        _ = graph.shapes
        for node in graph.nodes:
            if node.weight is not None:
                if "." in node.name or hasattr(self, node.name):
                    raise InputError("this name cannot be a layer's", where=node.name, mend="rename the node")
                self.add_module(node.name, _layer(node))

    def forward(self, x: Tensor) -> Tensor:
        """The network's output."""
        tensors = {self.graph.input: self._tensor(self.graph.input, x)}
        for node in self.graph.nodes:
            inputs = [tensors[name] for name in node.inputs]
            if node.weight is None:
                y = apply_node(node, inputs)
            else:
                y = self.get_submodule(node.name)(_padded(node, inputs[0]) if node.op == "conv" else inputs[0])
            tensors[node.name] = self._tensor(node.name, _clamped(node, y))
            for name in node.inputs:
                if self._last_use[name] == node.name:
                    tensors.pop(name, None)  # a network without gradients holds no more than it needs
        return tensors[self.graph.output]

    def to_graph(self) -> Graph:
        """The graph with the layers' present weights, and their present number of channels and groups.

        Raises:
            InputError: layers were changed so that they do not fit together any more.
        """
        nodes = tuple(self._present(node) for node in self.graph.nodes)
        graph = replace(self.graph, nodes=nodes)
        _ = graph.shapes
        return graph

    def _tensor(self, _name: str, x: Tensor) -> Tensor:
        """What readers of the tensor of that name get; a subclass may round it."""
        return x

    def _present(self, node: Node) -> Node:
        if node.weight is None:
            return node
        layer = self.get_submodule(node.name)
        if not isinstance(layer, nn.Conv2d | nn.Linear) or layer.bias is None:
            raise InputError(f"the layer was replaced by a {type(layer).__name__}", where=node.name)
        weight, bias = (part.detach().float().cpu().numpy().copy() for part in (layer.weight, layer.bias))
        return replace(node, weight=weight, bias=bias, groups=layer.groups if isinstance(layer, nn.Conv2d) else 1)


def apply_node(node: Node, inputs: list[Tensor], *, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """The node's function without its clamp, with other constants in place of its own where given.

    Args:
        node: the operation.
        inputs: float32 tensors in the order of ``node.inputs``.
        weight: replaces the node's weight.
        bias: replaces the node's bias.
    """
    if node.op not in {"conv", "linear"}:
        return _PLAIN[node.op](node, inputs)
    if weight is None:
        weight = torch.from_numpy(node.weight)
    if bias is None:
        bias = torch.from_numpy(node.bias)
    if node.op == "linear":
        return functional.linear(inputs[0], weight, bias)
    return functional.conv2d(_padded(node, inputs[0]), weight, bias, node.stride, _padding(node), groups=node.groups)


_PLAIN: Mapping[str, Callable[[Node, list[Tensor]], Tensor]] = MappingProxyType(
    {
        "add": lambda _, x: x[0] + x[1],
        "mul": lambda _, x: x[0] * x[1],
        "pool": lambda node, x: _pooled(node, x[0]),
        "hard_sigmoid": lambda _, x: functional.hardsigmoid(x[0]),
        "hard_swish": lambda _, x: functional.hardswish(x[0]),
        "clip_norm": lambda node, x: _shortened(node, x[0]),
    }
)


def _clamped(node: Node, y: Tensor) -> Tensor:
    """The node's clamp by the operation that is quickest backwards.

    ``torch.clamp``'s way back makes two masks and a choice: three to thirty times slower than ReLU's, the more the
    larger the map (measured). Exactly on a bound its gradient is 1, that of the others 0.
    """
    if not node.clamped:
        return y
    if node.low == 0 and node.high == math.inf:
        return functional.relu(y)
    if math.isfinite(node.low) and math.isfinite(node.high) and node.low < node.high:
        return functional.hardtanh(y, node.low, node.high)
    return torch.clamp(y, node.low, node.high)


def _pooled(node: Node, x: Tensor) -> Tensor:
    if node.grid == (1, 1):
        return x.mean((2, 3), keepdim=node.keepdims)
    means = functional.adaptive_avg_pool2d(x, node.grid)
    return means if node.keepdims else means.flatten(1)


def _shortened(node: Node, x: Tensor) -> Tensor:
    square = (x * x).sum(1, keepdim=True).clamp(min=node.bound**2)  # before the root, which has no gradient at zero
    return x * (node.bound * torch.rsqrt(square))


def _padding(node: Node) -> tuple[int, int]:
    """The zeros that the convolution adds itself: those that are the same on both sides."""
    top, left, bottom, right = node.pads
    return (top, left) if (top, left) == (bottom, right) else (0, 0)


def _padded(node: Node, x: Tensor) -> Tensor:
    """The input with the zeros that the convolution does not add itself."""
    top, left, bottom, right = node.pads
    return x if (top, left) == (bottom, right) else functional.pad(x, (left, right, top, bottom))


def _layer(node: Node) -> nn.Module:
    assert node.weight is not None
    assert node.bias is not None
    outputs, per_group = node.weight.shape[:2]
    layer: nn.Conv2d | nn.Linear
    if node.op == "linear":
        layer = nn.Linear(per_group, outputs)
    else:
        kernel = (node.weight.shape[2], node.weight.shape[3])
        layer = nn.Conv2d(per_group * node.groups, outputs, kernel, node.stride, _padding(node), groups=node.groups)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(node.weight))
        layer.bias.copy_(torch.from_numpy(node.bias))  # type: ignore[union-attr]
    return layer
