"""A frozen network as a short list of operations with their constants: the common form of every network here.

What is exported, calibrated, quantized, pruned and fine-tuned is a graph, whatever class made the network. Only what
the declared architectures use exists; a network with anything else is refused when it is traced, so nothing is ever
exported or quantized by guess.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from skerry.errors import InputError
from skerry.records import Float32Array, ParameterLayout

__all__ = ["CLAMPABLE", "OPS", "Graph", "Node", "Op", "Shape"]

Op = Literal["conv", "linear", "add", "mul", "pool", "hard_sigmoid", "hard_swish", "clip_norm"]
OPS: tuple[Op, ...] = get_args(Op)
CLAMPABLE: frozenset[Op] = frozenset({"conv", "linear", "add"})
Shape = tuple[int, ...]
"""Of one example's tensor: ``(channels, height, width)``, or ``(features,)`` once it is pooled."""

_INPUTS = {"add": 2, "mul": 2}


@dataclass(frozen=True, eq=False)
class Node:
    """One operation; its output tensor has its name.

    Attributes:
        op: ``conv`` and ``linear`` (with bias), ``add`` (two tensors of one shape), ``mul`` (of two tensors, one of
            which may be ``(channels, 1, 1)``), ``pool`` (means over the fields of a grid), ``hard_sigmoid``
            (min(max(x + 3, 0), 6) / 6), ``hard_swish`` (x times that) and ``clip_norm`` (of a vector:
            x · min(1, bound / ‖x‖), with the L2 norm).
        name: unique in the graph; a Python identifier.
        inputs: names of the tensors it reads.
        weight: ``(outputs, inputs/groups, height, width)`` for ``conv``, ``(outputs, inputs)`` for ``linear``.
        bias: ``(outputs,)``.
        stride: of a convolution: down, across.
        pads: zeros added at top, left, bottom, right.
        groups: of a convolution.
        grid: of ``pool``: fields down and across, all of one size; (1, 1) is the mean over height and width.
        keepdims: of ``pool``: whether the means stay ``(channels, *grid)`` instead of becoming one vector.
        low: lower clamp of the output of ``conv``, ``linear``, ``add``; −∞ where there is none.
        high: upper clamp, ∞ where there is none.
        bound: of ``clip_norm``: the largest norm that comes out.
    """

    op: Op
    name: str
    inputs: tuple[str, ...]
    weight: Float32Array | None = None
    bias: Float32Array | None = None
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    grid: tuple[int, int] = (1, 1)
    keepdims: bool = False
    low: float = -math.inf
    high: float = math.inf
    bound: float = math.inf

    @property
    def clamped(self) -> bool:
        """Whether the output is clamped at all."""
        return math.isfinite(self.low) or math.isfinite(self.high)

    def output_shape(self, *inputs: Shape) -> Shape:
        """The shape of one example's output, from those of its inputs.

        Raises:
            InputError: they do not fit this operation.
        """
        if len(inputs) != _INPUTS.get(self.op, 1):
            raise InputError(f"{self.op} reads {_INPUTS.get(self.op, 1)} tensors, not {len(inputs)}", where=self.name)
        if self.clamped and self.op not in CLAMPABLE:
            raise InputError(f"the output of {self.op} cannot be clamped", where=self.name)
        if not self.low <= self.high:
            raise InputError(f"clamped to {self.low} ... {self.high}", where=self.name)
        first = inputs[0]
        if self.op in {"hard_sigmoid", "hard_swish"}:
            return first
        if self.op in {"add", "mul"}:
            return self._joined(first, inputs[1])
        if self.op == "linear":
            return self._linear(first)
        if self.op == "clip_norm":
            return self._shortened(first)
        if len(first) != 3:
            raise InputError(f"{self.op} reads (channels, height, width), not {first}", where=self.name)
        if self.op == "pool":
            return self._pooled(first)
        return self._convolved(first)

    def _joined(self, first: Shape, second: Shape) -> Shape:
        if first == second:
            return first
        if self.op == "mul" and len(first) == len(second) == 3 and first[0] == second[0]:
            whole = max(first, second)
            if min(first, second)[1:] == (1, 1):
                return whole
        raise InputError(f"{self.op} of tensors of shapes {first} and {second}", where=self.name)

    def _linear(self, first: Shape) -> Shape:
        weight = self._constants(2)
        if first != (weight.shape[1],):
            raise InputError(f"a linear layer of {weight.shape[1]} inputs reads a tensor {first}", where=self.name)
        return (len(weight),)

    def _shortened(self, first: Shape) -> Shape:
        if len(first) != 1 or not 0 < self.bound < math.inf:
            raise InputError(f"a tensor {first} cannot be cut to the norm {self.bound}", where=self.name)
        return first

    def _pooled(self, first: Shape) -> Shape:
        if min(self.grid) < 1 or any(side % fields for side, fields in zip(first[1:], self.grid, strict=True)):
            down, across = self.grid
            raise InputError(f"a map of {first[1]}x{first[2]} has no {down}x{across} equal fields", where=self.name)
        return (first[0], *self.grid) if self.keepdims else (first[0] * math.prod(self.grid),)

    def _convolved(self, first: Shape) -> Shape:
        weight = self._constants(4)
        outputs, per_group, *kernel = weight.shape
        channels, height, width = first
        if self.groups < 1 or channels != per_group * self.groups or outputs % self.groups:
            raise InputError(
                f"a convolution {weight.shape} in {self.groups} groups reads {channels} channels", where=self.name
            )
        top, left, bottom, right = self.pads
        padded = (height + top + bottom, width + left + right)
        if min(self.stride) < 1 or min(self.pads) < 0 or any(p < k for p, k in zip(padded, kernel, strict=True)):
            raise InputError(
                f"an input of {height}x{width} is too small for a {kernel[0]}x{kernel[1]} convolution", where=self.name
            )
        down, across = ((p - k) // s + 1 for p, k, s in zip(padded, kernel, self.stride, strict=True))
        return (outputs, down, across)

    def _constants(self, dimensions: int) -> Float32Array:
        """The weight, once weight and bias are known to fit together."""
        weight, bias = self.weight, self.bias
        if weight is None or bias is None or weight.ndim != dimensions or bias.shape != weight.shape[:1]:
            raise InputError(f"weight and bias of a {self.op} do not fit together", where=self.name)
        return weight


@dataclass(frozen=True, eq=False)
class Graph:
    """A network from one batch ``(n, channels, height, width)`` to one matrix ``(n, outputs)``.

    Pictures are ``(channels, size, size)``; windows of sensor or audio features ``(channels, 1, length)``.

    Attributes:
        input: name of the input tensor.
        input_shape: channels, height, width.
        nodes: in an order in which every input precedes its use; the last one's output is the network's.
        classes: names of the outputs; empty where they have none (features).
    """

    input: str
    input_shape: tuple[int, int, int]
    nodes: tuple[Node, ...]
    classes: tuple[str, ...] = ()

    @property
    def output(self) -> str:
        """Name of the network's output."""
        return self.nodes[-1].name

    @property
    def outputs(self) -> int:
        """Length of the output vector."""
        return self.shapes[self.output][0]

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of each tensor for one example, by name.

        Raises:
            InputError: the graph is not well formed: a name used twice or before it is computed, shapes that do not
                fit, an output that is not a vector, class names that do not fit the output.
        """
        if len(self.input_shape) != 3 or min(self.input_shape) < 1:
            raise InputError(f"a network's input is (channels, height, width), not {self.input_shape}")
        if not self.nodes:
            raise InputError("a network without operations")
        shapes: dict[str, Shape] = {self.input: self.input_shape}
        for node in self.nodes:
            missing = [tensor for tensor in node.inputs if tensor not in shapes]
            if missing:
                raise InputError(f"reads {missing[0]!r} before it is computed", where=node.name)
            if node.name in shapes:
                raise InputError("two tensors of one name", where=node.name)
            shapes[node.name] = node.output_shape(*(shapes[tensor] for tensor in node.inputs))
        if len(shapes[self.output]) != 1:
            raise InputError(f"the output is not a vector but {shapes[self.output]}", where=self.output)
        if self.classes and len(self.classes) != shapes[self.output][0]:
            raise InputError(f"{len(self.classes)} class names for {shapes[self.output][0]} outputs", where=self.output)
        return shapes

    @cached_property
    def layout(self) -> ParameterLayout:
        """Names and shapes of weights and biases, ``<node>.weight`` and ``<node>.bias``, in the order of the nodes."""
        return ParameterLayout(
            tuple(
                (f"{node.name}.{part}", values.shape)
                for node in self.nodes
                for part, values in (("weight", node.weight), ("bias", node.bias))
                if values is not None
            )
        )

    def last_use(self) -> Mapping[str, str]:
        """For each tensor the node that reads it last, after which it can be let go."""
        return {tensor: node.name for node in self.nodes for tensor in node.inputs}

    def macs(self) -> int:
        """Multiply-accumulates of convolutions and linear layers for one example, as the literature counts them."""
        return sum(self.macs_by_node().values())

    def macs_by_node(self) -> Mapping[str, int]:
        """The same of each convolution and linear layer, by name."""
        return {
            node.name: node.weight.size * math.prod(self.shapes[node.name][1:])
            for node in self.nodes
            if node.weight is not None
        }

    def parameters(self) -> int:
        """Numbers in weights and biases; folded norms have none of their own."""
        return self.layout.size
