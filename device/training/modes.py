"""What each mode trains of a network, and how the trained network becomes one graph again.

``full``   every convolution and linear layer, in float32
``tail``   the same of the part after a cut; the part before runs in int8 and is not here
``bias``   all biases and the classifier (BiTFiT, Ben Zaken et al. 2022; private: Bu et al. 2022, arXiv:2210.00036),
           over weights that are already rounded to int8
``lora``   low-rank adapters over int8 weights, and the classifier
``qat``    every convolution and linear layer, seeing itself in int8 on the base's scales, which stay

The whitening before the classifier is frozen everywhere: it is fitted on public data and conditions the classifier.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from skerry.config import OVER_INT8
from skerry.device.compression.fake_quant import FakeQuantGraphModule
from skerry.device.compression.graph import Graph, Node
from skerry.device.compression.graph_module import GraphModule
from skerry.device.compression.quantize import Quantization
from skerry.device.networkbase import CLASSIFIER, WHITEN
from skerry.device.training.lora import lora_graph, lora_module
from skerry.errors import InputError

__all__ = ["Mode", "merge_linear", "prepare_mode", "rounded"]


@dataclass(frozen=True)
class Mode:
    """A network made ready for training.

    Attributes:
        module: its parameters that require a gradient are the trainable vector.
        graph: the module, with whatever weights it then has, to the float graph of what was trained.
        quantization: the module to the int8 form in which it saw itself; None where the graph is quantized anew.
    """

    module: nn.Module
    graph: Callable[[nn.Module], Graph]
    quantization: Callable[[nn.Module], Quantization] | None = None


def prepare_mode(trainable: str, graph: Graph, quantization: Quantization | None, *, rank: int) -> Mode:
    """The network in the mode of that name.

    Args:
        trainable: ``full``, ``tail``, ``bias``, ``lora`` or ``qat``.
        graph: the float network; for ``tail`` the part after the cut.
        quantization: int8 weights of the network; None where it stays float.
        rank: of ``lora``'s adapters.

    Raises:
        InputError: ``lora`` or ``qat`` of a network that stays float.
    """
    if trainable in OVER_INT8 and quantization is None:
        raise InputError(
            f"{trainable} trains over int8 weights, and this base has none", where="the base", mend="set model.bits = 8"
        )
    if trainable == "lora":
        assert quantization is not None
        adapted = lora_module(graph, quantization, rank=rank, trained=frozenset({CLASSIFIER}))
        return Mode(adapted, _from_lora)
    found = None
    if trainable == "qat":
        assert quantization is not None
        module: GraphModule = FakeQuantGraphModule(graph, quantization)
        found = _as_seen
    elif trainable == "bias":
        module = GraphModule(graph if quantization is None else rounded(graph, quantization))
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name.endswith(".bias") or name.startswith(f"{CLASSIFIER}."))
    else:
        module = GraphModule(graph)
    for name, parameter in module.named_parameters():
        if name.startswith(f"{WHITEN}."):
            parameter.requires_grad_(False)
    return Mode(module, _from_plain, found)


def rounded(graph: Graph, quantization: Quantization) -> Graph:
    """The graph with the weights, and the corrected biases, that its int8 form has."""

    def present(node: Node) -> Node:
        found = quantization.weights.get(node.name)
        if found is None:
            return node
        scale = found.scale.reshape(-1, *[1] * (found.values.ndim - 1))
        bias = (found.bias * found.bias_scale).astype(np.float32)
        return replace(node, weight=(found.values * scale).astype(np.float32), bias=bias)

    return replace(graph, nodes=tuple(present(node) for node in graph.nodes))


def merge_linear(graph: Graph) -> Graph:
    """What is deployed: whitening and classifier multiplied into one linear layer, whose output is ``scores``."""
    whiten, classifier = ({node.name: node for node in graph.nodes}.get(name) for name in (WHITEN, CLASSIFIER))
    assert classifier is not None
    assert classifier.weight is not None
    assert classifier.bias is not None
    scores = replace(classifier, name="scores")
    if whiten is not None:
        assert whiten.weight is not None
        assert whiten.bias is not None
        matrix = classifier.weight.astype(np.float64)
        bias = matrix @ whiten.bias + classifier.bias
        weight = (matrix @ whiten.weight).astype(np.float32)
        scores = replace(scores, inputs=whiten.inputs, weight=weight, bias=bias.astype(np.float32))
    return replace(graph, nodes=(*(n for n in graph.nodes if n.name not in {WHITEN, CLASSIFIER}), scores))


def _from_plain(module: nn.Module) -> Graph:
    assert isinstance(module, GraphModule)
    return module.to_graph()


def _as_seen(module: nn.Module) -> Quantization:
    assert isinstance(module, FakeQuantGraphModule)
    return module.to_quantized()[1]


def _from_lora(module: nn.Module) -> Graph:
    assert isinstance(module, GraphModule)
    return lora_graph(module)
