"""Adaptive bit allocation: which layers can do with few bits is measured, and a byte budget is spent where it pays.

1. *sensitivity*: for each layer and number of bits, how far the network's outputs move when that layer alone is
   rounded: the mean KL divergence of the class probabilities, or the mean squared change where outputs are no classes.
   Everything before the layer is computed once.
2. *allocation*: bits for each layer with the least sum of sensitivities whose file keeps to the budget: an exact
   multiple-choice knapsack. It is optimal as far as sensitivities add up, which they do to second order in the change
   of the weights for independent changes; at two bits it is an approximation.
3. *rounding*: layer by layer, on inputs that earlier rounded layers have left
   (:mod:`skerry.device.compression.rounding`); the bias takes up what is left of the mean error of each channel (Nagel
   et al., arXiv:1906.04721, section 4.2).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from skerry.device.compression.graph import Graph, Node
from skerry.device.compression.graph_module import apply_node
from skerry.device.compression.knapsack import Choice, choose
from skerry.device.compression.packing import BITS, PackedGraph, PackedLayer, packed_bytes
from skerry.device.compression.rounding import Rounded, input_moments, round_compensated, round_nearest
from skerry.device.training.central import one_thread
from skerry.errors import InputError
from skerry.records import Float32Array

__all__ = ["BitAllocation", "Sensitivities", "allocate_bits", "apply_bits", "sensitivities", "uniform_bits"]

Sensitivities = Mapping[str, Mapping[int, float]]
_LARGEST_FLOAT16 = 65504.0


@dataclass(frozen=True)
class BitAllocation:
    """Bits of each layer's weights.

    Attributes:
        bits: by name of node.
        bytes: of the packed file.
        expected: the sum of sensitivities; None where none were measured.
    """

    bits: Mapping[str, int]
    bytes: int
    expected: float | None = None


def uniform_bits(graph: Graph, bits: int) -> BitAllocation:
    """The same bits for every layer."""
    same = {node.name: bits for node in graph.nodes if node.weight is not None}
    return BitAllocation(same, packed_bytes(graph, same))


def allocate_bits(
    graph: Graph, calibration: Float32Array, budget_bytes: int, *, measured: Sensitivities | None = None
) -> BitAllocation:
    """The bits with the least sum of sensitivities whose packed file has at most so many bytes.

    Args:
        graph: a trained network.
        calibration: ``(n, channels, height, width)`` transformed public examples.
        budget_bytes: of the whole file: weights, scales, biases and structure.
        measured: sensitivities that are known already.

    Raises:
        InputError: no file is that small (says how small one can be), or there is nothing to calibrate with.
    """
    names = list(uniform_bits(graph, 2).bits)
    smallest = packed_bytes(graph, dict.fromkeys(names, BITS[0]))
    if smallest > budget_bytes:
        raise InputError(
            f"no allocation of bits fits into {budget_bytes:,} bytes: {smallest:,} is the least, with two bits for "
            "every weight",
            where="bit allocation",
            mend="allow more, or prune channels first",
        )
    found = sensitivities(graph, calibration) if measured is None else measured
    counts = {node.name: node.weight.size for node in graph.nodes if node.weight is not None}
    items = [[Choice(-(-counts[name] * b // 8), found[name][b]) for b in BITS] for name in names]
    # The structure's text is a few bytes shorter when there are fewer weights; take it at its longest.
    rest = packed_bytes(graph, dict.fromkeys(names, BITS[-1])) - sum(item[-1].cost for item in items)
    chosen = choose(items, budget_bytes - rest)
    if chosen is None:
        chosen = (0,) * len(names)  # it fits by those few bytes only
    bits = {name: BITS[index] for name, index in zip(names, chosen, strict=True)}
    expected = sum(item[index].loss for item, index in zip(items, chosen, strict=True))
    return BitAllocation(bits, packed_bytes(graph, bits), expected)


@torch.no_grad()
def sensitivities(graph: Graph, calibration: Float32Array) -> Sensitivities:
    """How far outputs move when one layer alone has so many bits, by name of node and bits.

    Args:
        graph: a trained network.
        calibration: ``(n, channels, height, width)`` transformed public examples.

    Raises:
        InputError: there are no examples, or they do not fit the network.
    """
    found: dict[str, dict[int, float]] = {}
    with one_thread():
        live = {graph.input: _checked(graph, calibration)}
        target = _rest(graph, 0, live)
        for i, node in enumerate(graph.nodes):
            if node.weight is not None:
                moments = input_moments(node, live[node.inputs[0]], live[node.inputs[0]])
                found[node.name] = {}
                for bits in BITS:
                    packed = _packed(node, bits, round_compensated(node, bits, moments), live, live)
                    output = {**live, node.name: _applied(node, live, packed)}
                    found[node.name][bits] = _distance(graph, target, _rest(graph, i + 1, output))
            live[node.name] = _applied(node, live)
            _let_go(graph, node, live)
    return found


@torch.no_grad()
def apply_bits(
    graph: Graph, allocation: BitAllocation, calibration: Float32Array, *, compensate: bool = True
) -> PackedGraph:
    """The network with rounded weights, as it is stored.

    Args:
        graph: the float network.
        allocation: bits for each of its layers.
        calibration: ``(n, channels, height, width)`` transformed public examples.
        compensate: False rounds each weight to the nearest value and leaves the biases: what one loses by that.

    Raises:
        InputError: there are no examples, they do not fit the network, or the allocation is of another network.
    """
    names = [node.name for node in graph.nodes if node.weight is not None]
    if sorted(names) != sorted(allocation.bits):
        raise InputError("the allocation is of another network: its layers have other names", where="bit allocation")
    layers: dict[str, PackedLayer] = {}
    with one_thread():
        image = _checked(graph, calibration)
        exact, reached = {graph.input: image}, {graph.input: image}
        for node in graph.nodes:
            layer = None
            if node.weight is not None:
                bits = allocation.bits[node.name]
                if compensate:
                    moments = input_moments(node, exact[node.inputs[0]], reached[node.inputs[0]])
                    layer = _packed(node, bits, round_compensated(node, bits, moments), exact, reached)
                else:
                    layer = _plain(node, bits)
                layers[node.name] = layer
            exact[node.name], reached[node.name] = _applied(node, exact), _applied(node, reached, layer)
            _let_go(graph, node, exact)
            _let_go(graph, node, reached)
    return PackedGraph(graph, layers)


def _checked(graph: Graph, calibration: Float32Array) -> Tensor:
    if calibration.ndim != 4 or calibration.shape[1:] != graph.input_shape or len(calibration) == 0:
        raise InputError(
            f"calibration needs examples (n, {', '.join(map(str, graph.input_shape))}), these are {calibration.shape}",
            where="bit allocation",
        )
    if not np.isfinite(calibration).all():
        raise InputError("calibration examples hold a number that is not finite", where="bit allocation")
    return torch.from_numpy(np.ascontiguousarray(calibration, np.float32))


def _applied(node: Node, tensors: Mapping[str, Tensor], layer: PackedLayer | None = None) -> Tensor:
    """The node's output, clamped, with a layer's constants in place of its own."""
    weight = bias = None
    if layer is not None:
        weight, bias = torch.from_numpy(layer.weight), torch.from_numpy(layer.bias.astype(np.float32))
    y = apply_node(node, [tensors[name] for name in node.inputs], weight=weight, bias=bias)
    return y.clamp_(node.low, node.high) if node.clamped else y


def _rest(graph: Graph, start: int, tensors: Mapping[str, Tensor]) -> Tensor:
    """The network's output from the tensors that the nodes from ``start`` on read."""
    live = dict(tensors)
    for node in graph.nodes[start:]:
        live[node.name] = _applied(node, live)
        _let_go(graph, node, live)
    return live[graph.output]


def _let_go(graph: Graph, node: Node, tensors: dict[str, Tensor]) -> None:
    last_use = graph.last_use()
    for name in node.inputs:
        if last_use[name] == node.name:
            tensors.pop(name, None)


def _packed(
    node: Node, bits: int, rounded: Rounded, exact: Mapping[str, Tensor], reached: Mapping[str, Tensor]
) -> PackedLayer:
    """The layer with the bias that gives each channel the float network's mean."""
    assert node.bias is not None
    layer = _layer(bits, rounded, node.bias)
    inputs = ([tensors[name] for name in node.inputs] for tensors in (exact, reached))
    target = apply_node(node, next(inputs))
    found = apply_node(node, next(inputs), weight=torch.from_numpy(layer.weight))
    axes = (0, 2, 3) if target.ndim == 4 else (0,)
    return _layer(bits, rounded, node.bias + (target.mean(axes) - found.mean(axes)).numpy())


def _plain(node: Node, bits: int) -> PackedLayer:
    assert node.bias is not None
    return _layer(bits, round_nearest(node, bits), node.bias)


def _layer(bits: int, rounded: Rounded, bias: Float32Array) -> PackedLayer:
    held = np.clip(bias, -_LARGEST_FLOAT16, _LARGEST_FLOAT16).astype(np.float16)
    return PackedLayer(bits, rounded.values, rounded.scale, held)


def _distance(graph: Graph, target: Tensor, output: Tensor) -> float:
    a, b = target.double(), output.double()
    if graph.classes:
        return float(functional.kl_div(b.log_softmax(1), a.log_softmax(1), reduction="batchmean", log_target=True))
    return float((a - b).square().mean())
