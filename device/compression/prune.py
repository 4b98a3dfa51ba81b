"""Structured pruning: whole channels leave a graph, so it becomes a smaller ordinary graph and every runtime gains.

torch-pruning finds which channels must leave together: a depthwise convolution with the pointwise one before it, both
branches of a residual addition, squeeze-excite with what it scales (Fang et al., "DepGraph", arXiv:2301.12900). Groups
of the same structure compete with each other by their kernels' norms (Fang et al., "Isomorphic Pruning",
arXiv:2407.04616). One number, the share of channels that leave, is searched until the multiply-accumulates fit.

Pruning by itself ruins a depthwise separable network (one in ten right, here); train it afterwards, with norms put back
(:mod:`skerry.device.compression.norms`).
"""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from skerry.device.compression.graph import Graph
from skerry.device.compression.graph_module import GraphModule
from skerry.errors import InputError

__all__ = ["Pruned", "prune"]

_STRONGEST = 0.98  # share of channels that may leave
_TRIES = 9


@dataclass(frozen=True)
class Pruned:
    """A smaller graph and what it keeps: shares of multiply-accumulates and of parameters."""

    graph: Graph
    macs: float
    parameters: float


def prune(graph: Graph, *, keep_macs: float, round_to: int = 8) -> Pruned:
    """Remove channels until at most a share of the multiply-accumulates is left; a function of the arguments alone.

    Inputs and outputs stay as they are; a layer keeps at least ``round_to`` channels.

    Args:
        graph: a trained network.
        keep_macs: share of the multiply-accumulates that may stay, between 0 and 1.
        round_to: channels stay multiples of it where they were: kernels work on eight or sixteen at once.

    Raises:
        InputError: the share cannot be reached; says what can.
    """
    if not 0 < keep_macs < 1:
        raise InputError(f"keep_macs is a share between 0 and 1, not {keep_macs}", where="pruning")
    low, high = 0.0, _STRONGEST
    best, least = None, graph
    for _ in range(_TRIES):
        ratio = (low + high) / 2 if least is not graph else _STRONGEST  # the strongest first: is it possible at all?
        tried = _without(graph, ratio, round_to)
        if tried.macs() < least.macs():
            least = tried
        if tried.macs() > keep_macs * graph.macs():
            if ratio == _STRONGEST:
                break
            low = ratio
        else:
            high = ratio
            best = tried if best is None or tried.macs() > best.macs() else best
    if best is None:
        raise InputError(
            f"pruning cannot keep at most {keep_macs:.1%} of the multiply-accumulates: "
            f"{least.macs() / graph.macs():.1%} is the least that layers of {round_to} channels allow",
            where="pruning",
            mend=f"keep more, or set round_to below {round_to}",
        )
    return Pruned(best, best.macs() / graph.macs(), best.parameters() / graph.parameters())


def _without(graph: Graph, ratio: float, round_to: int) -> Graph:
    """The graph without that share of the channels, the least important of all groups of one structure together."""
    import torch_pruning

    module = GraphModule(graph)
    dependencies = torch_pruning.DependencyGraph()
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")  # about parameters outside of layers, of which a graph has none
        dependencies.build_dependency(module, torch.zeros(1, *graph.input_shape))
    measure = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    kinds: dict[tuple[Any, ...], list[tuple[Any, Tensor]]] = {}
    for group in dependencies.get_all_groups(ignored_layers=_outputs(graph, module)):
        if not any(_grouped(dep.target.module) for dep, _ in group):
            kind = tuple((type(dep.target.module), str(dep.trigger), str(dep.handler)) for dep, _ in group)
            kinds.setdefault(kind, []).append((group, measure(group)))
    for members in kinds.values():
        together = torch.cat([importance for _, importance in members])
        threshold = together.sort().values[min(int(ratio * len(together)), len(together) - 1)]
        for group, importance in members:
            leaving = len(importance) - _kept(int((importance >= threshold).sum()), len(importance), round_to)
            if leaving:
                group.prune(importance.argsort()[:leaving].tolist())
    return module.to_graph()


def _kept(wanted: int, channels: int, round_to: int) -> int:
    """The nearest multiple, at least one of it; a layer that is smaller than that stays as it is."""
    return min(channels, max(round_to, round(wanted / round_to) * round_to))


def _grouped(layer: object) -> bool:
    """Whether it is a convolution in groups of several channels, whose channels cannot leave one by one."""
    return isinstance(layer, nn.Conv2d) and 1 < layer.groups < layer.in_channels


def _outputs(graph: Graph, module: GraphModule) -> list[nn.Module]:
    """The layers whose channels are the network's outputs."""
    by_name = {node.name: node for node in graph.nodes}
    found: list[nn.Module] = []
    open_ = [graph.output]
    while open_:
        node = by_name[open_.pop()]
        if node.weight is not None:
            found.append(module.get_submodule(node.name))
        else:
            open_ += [tensor for tensor in node.inputs if tensor in by_name]
    return found
