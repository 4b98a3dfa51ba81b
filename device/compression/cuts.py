"""Where a graph can be cut in two: the part before is frozen and run in int8, the part after is trained.

A *cut* is a tensor that everything after it depends on, and on nothing else from before. A *block* ends at a cut: at a
residual addition, or at a pointwise convolution that closes a depthwise separable unit (with or without a gate in
between). What follows the last block, up to the scores, is the head of the network; it always belongs to the part
after. A network without depthwise convolutions has a block at every convolution that is a cut.
"""

from dataclasses import replace

from skerry.device.compression.graph import Graph, Node
from skerry.errors import InputError, ScenarioError

__all__ = ["block_starts", "cuts", "features_of", "split", "tail_start"]


def cuts(graph: Graph) -> tuple[str, ...]:
    """The tensors, in order, at which the graph can be cut; the input is the first, pooled features are not among them.

    Guarantee: :func:`split` at any of them gives two parts that together compute what the graph computes.
    """
    position = {graph.input: -1} | {node.name: i for i, node in enumerate(graph.nodes)}
    last_read = {tensor: position[reader] for tensor, reader in graph.last_use().items()}
    found = []
    for tensor, at in position.items():
        earlier = (last_read[other] for other in position if position[other] < at and other in last_read)
        if len(graph.shapes[tensor]) == 3 and max(earlier, default=-1) <= at:
            found.append(tensor)
    return tuple(found)


def block_starts(graph: Graph) -> tuple[str, ...]:
    """The cuts at which a block starts, in order: ``block_starts(graph)[-k]`` leaves the last k blocks after it."""
    possible = cuts(graph)
    by_name = {node.name: node for node in graph.nodes}
    separable = any(node.op == "conv" and node.groups > 1 for node in graph.nodes)
    ends, opened = [], False
    for node in graph.nodes:
        opened = opened or (node.op == "conv" and node.groups > 1)
        if node.name not in possible or by_name[node.name].op not in {"conv", "add"}:
            continue
        pointwise = node.op == "conv" and node.groups == 1
        if node.op == "add" or (pointwise and (opened or not separable)):
            ends.append(node.name)
            opened = False
    if not ends:
        return ()
    first = _first_start(graph, possible, ends[0])
    return (first, *ends[:-1])


def features_of(graph: Graph, blocks: int = 0, grid: int = 1) -> Graph:
    """A network that ends in pooled features, shortened to its first blocks and pooled more finely.

    Early maps tell shapes apart, late ones what is in a photograph; the means over the fields of a grid keep where
    something is, which the mean over the whole map loses.

    Args:
        graph: ends in a pooled map.
        blocks: how many to keep; 0 keeps all, and what follows them.
        grid: fields each way; a map one pixel high (of a window of sensors) has one row of them.

    Raises:
        ScenarioError: the network has fewer blocks, or the map cannot be divided into that many equal fields.
    """
    nodes, source = graph.nodes[:-1], graph.nodes[-1].inputs[0]
    if blocks:
        starts = block_starts(graph)
        if blocks >= len(starts):
            raise ScenarioError(
                f"this network has {len(starts)} blocks: its first {blocks} cannot be kept",
                where="model.blocks",
                mend=f"set model.blocks between 1 and {len(starts) - 1}, or to 0 for the whole network",
            )
        source = starts[blocks]
        nodes, _ = split(graph, source)
    _, height, width = graph.shapes[source]
    fields = (1 if height == 1 else grid, grid)
    if height % fields[0] or width % fields[1]:
        raise ScenarioError(
            f"a map of {height}x{width} cannot be divided into {fields[0]}x{fields[1]} equal fields",
            where="model.grid",
            mend="choose a divisor of the map's sides, or another model.input_size",
        )
    return replace(graph, nodes=(*nodes, Node("pool", "features", (source,), grid=fields)))


def split(graph: Graph, tensor: str) -> tuple[tuple[Node, ...], Graph]:
    """The operations up to a cut, and the graph that goes on from there, with that tensor as its input.

    Raises:
        InputError: the graph cannot be cut there.
    """
    if tensor not in cuts(graph):
        raise InputError("the network cannot be cut at this tensor: a later operation reads past it", where=tensor)
    at = [graph.input, *(node.name for node in graph.nodes)].index(tensor)
    channels, height, width = graph.shapes[tensor]
    return graph.nodes[:at], replace(graph, input=tensor, input_shape=(channels, height, width), nodes=graph.nodes[at:])


def tail_start(graph: Graph, blocks: int) -> str:
    """The cut that leaves the last ``blocks`` blocks, and the network's head, after it.

    Raises:
        ScenarioError: the network has fewer blocks.
    """
    starts = block_starts(graph)
    if not 1 <= blocks <= len(starts):
        raise ScenarioError(
            f"this network has {len(starts)} blocks that can be trained as its tail, not {blocks}",
            where="model.tail_blocks",
            mend=f"set model.tail_blocks between 1 and {len(starts)}" if starts else 'set model.trainable = "full"',
        )
    return starts[-blocks]


def _first_start(graph: Graph, possible: tuple[str, ...], first_end: str) -> str:
    """The start of the first block: the last cut before its depthwise convolution, which the stem wrote."""
    names = [graph.input, *(node.name for node in graph.nodes)]
    end = names.index(first_end)
    depthwise = [i for i, node in enumerate(graph.nodes) if node.op == "conv" and node.groups > 1]
    limit = min([i for i in depthwise if i < end], default=end - 1)
    return [name for name in possible if names.index(name) <= limit][-1]
