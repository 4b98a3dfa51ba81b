"""A frozen network as a short list of operations with their constants: what is exported, calibrated and quantized.

Only what the declared architectures use exists here; a network with anything else is refused when it is traced, so
nothing is ever exported or quantized by guess.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from skerry.records import Float32Array

__all__ = ["Graph", "Node"]


@dataclass(frozen=True)
class Node:
    """One operation; its output tensor has its name.

    Attributes:
        op: ``conv`` (with bias, then clamped to ``low … high``), ``add`` (two tensors of one shape), ``pool`` (mean
            over height and width, flattened), ``linear``.
        name: unique in the graph.
        inputs: names of the tensors it reads.
        weight: ``(outputs, inputs/groups, k, k)`` for ``conv``, ``(outputs, inputs)`` for ``linear``.
        bias: ``(outputs,)``.
        stride: of a convolution, both ways.
        pads: zeros added at top, left, bottom, right.
        groups: of a convolution.
        low: lower clamp, −∞ where there is none.
        high: upper clamp, ∞ where there is none.
    """

    op: Literal["conv", "add", "pool", "linear"]
    name: str
    inputs: tuple[str, ...]
    weight: Float32Array | None = None
    bias: Float32Array | None = None
    stride: int = 1
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Graph:
    """A network from one picture batch ``(n, 3, size, size)`` to one matrix ``(n, outputs)``.

    Attributes:
        input: name of the input tensor.
        size: pixels, square.
        nodes: in an order in which every input precedes its use; the last one's output is the network's.
    """

    input: str
    size: int
    nodes: tuple[Node, ...]

    @property
    def output(self) -> str:
        """Name of the network's output."""
        return self.nodes[-1].name

    def last_use(self) -> Mapping[str, str]:
        """For each tensor the node that reads it last, after which it can be let go."""
        return {tensor: node.name for node in self.nodes for tensor in node.inputs}
