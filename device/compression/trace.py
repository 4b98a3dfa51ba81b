"""From a torch module to a :class:`~skerry.device.compression.graph.Graph`, by symbolic tracing (``torch.fx``)."""

import math
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from skerry.device.compression.graph import Graph, Node
from skerry.errors import InputError

__all__ = ["apply_node", "trace"]


def trace(model: nn.Module, size: int) -> Graph:
    """The operations of a network whose norms are folded.

    Args:
        model: in inference mode; ``(n, 3, size, size)`` to ``(n, outputs)``.
        size: input pixels, square.

    Raises:
        InputError: the network holds an operation that has no rule here; names it.
    """
    tracer = _Tracer(fx.symbolic_trace(model))
    return Graph(tracer.input, size, tuple(tracer.nodes))


def apply_node(node: Node, inputs: list[Tensor], *, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """The node's function without its clamp, with other constants in place of its own where given.

    Args:
        node: the operation.
        inputs: float32 tensors in the order of ``node.inputs``.
        weight: replaces the node's weight.
        bias: replaces the node's bias.
    """
    if node.op == "add":
        return inputs[0] + inputs[1]
    if node.op == "pool":
        return inputs[0].mean((2, 3))
    if weight is None:
        weight = torch.from_numpy(node.weight)
    if bias is None:
        bias = torch.from_numpy(node.bias)
    if node.op == "linear":
        return functional.linear(inputs[0], weight, bias)
    top, left, bottom, right = node.pads
    x = inputs[0]
    padding: int | tuple[int, int] = 0
    if (top, left) == (bottom, right):
        padding = (top, left)
    else:
        x = functional.pad(x, (left, right, top, bottom))
    return functional.conv2d(x, weight, bias, node.stride, padding, groups=node.groups)


class _Tracer:
    """Walks an fx graph once; ``_tensor`` maps fx nodes to the tensors they stand for, ``_pads`` to padding."""

    def __init__(self, module: fx.GraphModule) -> None:
        self.input = ""
        self.nodes: list[Node] = []
        self._modules = dict(module.named_modules())
        self._tensor: dict[fx.Node, str] = {}
        self._pads: dict[fx.Node, tuple[int, int, int, int]] = {}
        for node in module.graph.nodes:
            self._visit(node)

    def _visit(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self.input = self._tensor[node] = "image"
        elif node.op == "output":
            if self._read(node.args[0]) != self.nodes[-1].name:
                raise InputError("the network's output is not its last operation")
        elif node.op == "call_module":
            self._module(node, self._modules[str(node.target)])
        elif node.op == "call_function" and node.target in _FUNCTIONS:
            _FUNCTIONS[node.target](self, node)
        else:
            raise InputError(f"no rule exports {node.op} {node.target}", where=node.name)

    def _module(self, node: fx.Node, module: nn.Module) -> None:
        source: Any = node.args[0]
        if isinstance(module, nn.Identity | nn.Dropout):
            self._tensor[node] = self._read(source)
        elif isinstance(module, nn.Conv2d):
            self._conv(node, module)
        elif isinstance(module, nn.Linear):
            weight, bias = _constants(module)
            self._add(node, Node("linear", self._name(), (self._read(source),), weight, bias))
        elif isinstance(module, nn.ReLU | nn.ReLU6):
            self._clamp(node, 0.0, 6.0 if isinstance(module, nn.ReLU6) else math.inf)
        else:
            raise InputError(f"no rule exports {type(module).__name__}", where=str(node.target))

    def _conv(self, node: fx.Node, module: nn.Conv2d) -> None:
        stride, padding = module.stride, module.padding
        plain = module.dilation == (1, 1) and module.padding_mode == "zeros" and stride[0] == stride[1]
        if not plain or isinstance(padding, str):
            raise InputError("no rule exports this kind of convolution", where=str(node.target))
        source: Any = node.args[0]
        top, left, bottom, right = self._pads.get(source, (0, 0, 0, 0))
        pads = (top + padding[0], left + padding[1], bottom + padding[0], right + padding[1])
        weight, bias = _constants(module)
        self._add(
            node,
            Node(
                "conv",
                self._name(),
                (self._read(source, padded=True),),
                weight,
                bias,
                stride=stride[0],
                pads=pads,
                groups=module.groups,
            ),
        )

    def pad(self, node: fx.Node) -> None:
        source: Any = node.args[0]
        left, right, top, bottom = _arguments(node)[1]
        plain = node.kwargs.get("mode", "constant") == "constant" and node.kwargs.get("value") in {None, 0.0}
        if len(node.args) > 2 or set(node.kwargs) - {"mode", "value"} or not plain:
            raise InputError("only zero padding is exported", where=node.name)
        if any(user.op != "call_module" for user in node.users):
            raise InputError("padding must be read by a convolution", where=node.name)
        self._tensor[node] = self._read(source)
        self._pads[node] = (top, left, bottom, right)

    def hardtanh(self, node: fx.Node) -> None:
        limits: list[Any] = [*node.args[1:], *(node.kwargs[k] for k in ("min_val", "max_val") if k in node.kwargs)]
        low, high = limits
        self._clamp(node, float(low), float(high))

    def relu6(self, node: fx.Node) -> None:
        self._clamp(node, 0.0, 6.0)

    def relu(self, node: fx.Node) -> None:
        self._clamp(node, 0.0, math.inf)

    def mean(self, node: fx.Node) -> None:
        if tuple(_arguments(node)[1]) != (2, 3) or len(node.args) > 2:
            raise InputError("only the mean over height and width is exported", where=node.name)
        self._add(node, Node("pool", self._name(), (self._read(node.args[0]),)))

    def add(self, node: fx.Node) -> None:
        self._add(node, Node("add", self._name(), tuple(self._read(source) for source in node.args)))

    def flatten(self, node: fx.Node) -> None:
        if self.nodes[-1].op != "pool":
            raise InputError("only pooled features are flattened", where=node.name)
        self._tensor[node] = self._read(node.args[0])

    def _clamp(self, node: fx.Node, low: float, high: float) -> None:
        source: Any = node.args[0]
        last = self.nodes[-1]
        if last.op != "conv" or self._read(source) != last.name or len(source.users) != 1:
            raise InputError("an activation must follow its convolution and be its only reader", where=node.name)
        self.nodes[-1] = replace(last, low=low, high=high)
        self._tensor[node] = last.name

    def _add(self, node: fx.Node, made: Node) -> None:
        self.nodes.append(made)
        self._tensor[node] = made.name

    def _name(self) -> str:
        return f"t{len(self.nodes):02d}"

    def _read(self, source: Any, *, padded: bool = False) -> str:
        if not isinstance(source, fx.Node) or (source in self._pads and not padded):
            raise InputError("an operand is not a tensor of the network", where=str(source))
        return self._tensor[source]


_FUNCTIONS: dict[Any, Callable[[_Tracer, fx.Node], None]] = {
    functional.pad: _Tracer.pad,
    functional.hardtanh: _Tracer.hardtanh,
    functional.relu6: _Tracer.relu6,
    functional.relu: _Tracer.relu,
    torch.relu: _Tracer.relu,
    torch.mean: _Tracer.mean,
    torch.flatten: _Tracer.flatten,
    operator.add: _Tracer.add,
    torch.add: _Tracer.add,
}


def _arguments(node: fx.Node) -> tuple[Any, ...]:
    """The positional arguments; fx types them as everything that could ever be one."""
    return node.args


def _constants(module: nn.Conv2d | nn.Linear) -> tuple[Any, Any]:
    weight = module.weight.detach()
    bias = torch.zeros(len(weight)) if module.bias is None else module.bias.detach()
    return weight.numpy().copy(), bias.numpy().copy()
