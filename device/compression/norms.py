"""Batch norms put back into a graph for training, and folded away again.

A graph has its norms folded into its convolutions: exact in inference, but a network without norms trains badly at the
learning rates that recover what pruning has cost. Here each convolution gets a batch norm whose running mean and
variance are those of its outputs on public examples, and whose scale and shift undo them, so the network computes the
same function in inference as before; after training, the norms are folded in as at the beginning.
"""

from typing import cast

import torch
from torch import Tensor, nn

from skerry.device.compression.graph import Graph
from skerry.device.compression.graph_module import GraphModule
from skerry.device.models.folding import fold_norms
from skerry.device.training.central import predict
from skerry.errors import InputError
from skerry.records import Float32Array

__all__ = ["fold_graph", "with_norms"]


def with_norms(graph: Graph, examples: Float32Array) -> GraphModule:
    """The graph as a module with a batch norm after each convolution; the same function in inference, to rounding.

    Args:
        graph: the network.
        examples: ``(n, c, h, w)`` public examples, some hundred; their statistics become the norms'.

    Raises:
        InputError: there are fewer than two examples.
    """
    if len(examples) < 2:
        raise InputError("norms need the statistics of at least two examples", where="public data")
    module = GraphModule(graph)
    statistics: dict[str, tuple[Tensor, Tensor]] = {}
    hooks = [
        module.get_submodule(node.name).register_forward_hook(_Statistics(node.name, statistics))
        for node in graph.nodes
        if node.op == "conv"
    ]
    predict(module, examples[:_EXAMPLES])
    for hook in hooks:
        hook.remove()
    for name, (mean, variance) in statistics.items():
        setattr(module, name, _Normed(cast(nn.Conv2d, module.get_submodule(name)), mean, variance))
    return module


def fold_graph(module: GraphModule) -> Graph:
    """The graph with the module's present weights, norms folded in where :func:`with_norms` put them."""
    folded = cast(GraphModule, fold_norms(module.eval()))
    for name, layer in list(folded.named_children()):
        if isinstance(layer, _Normed):
            setattr(folded, name, layer.conv)
    return folded.to_graph()


_EXAMPLES = 256  # predict runs them as one batch, so that a hook sees all of them at once


class _Statistics:
    """Notes mean and variance of a layer's outputs, by channel."""

    def __init__(self, name: str, into: dict[str, tuple[Tensor, Tensor]]) -> None:
        self._name, self._into = name, into

    def __call__(self, _module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        variance, mean = torch.var_mean(output, (0, 2, 3), correction=0)
        self._into[self._name] = mean, variance


class _Normed(nn.Module):
    """A convolution without bias and its norm, under the names that :func:`fold_norms` looks for."""

    def __init__(self, conv: nn.Conv2d, mean: Tensor, variance: Tensor) -> None:
        super().__init__()
        bias = torch.zeros_like(mean) if conv.bias is None else conv.bias.detach()
        conv.bias = None
        self.conv, self.norm = conv, nn.BatchNorm2d(len(mean))
        with torch.no_grad():
            self.norm.weight.copy_(torch.sqrt(variance + self.norm.eps))
            self.norm.bias.copy_(mean)
            cast(Tensor, self.norm.running_mean).copy_(mean - bias)
            cast(Tensor, self.norm.running_var).copy_(variance)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.norm(self.conv(x)))
