"""From a torch module to a :class:`~skerry.device.compression.graph.Graph`, by symbolic tracing (``torch.fx``)."""

import math
import operator
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

from skerry.device.compression.graph import CLAMPABLE, Graph, Node
from skerry.errors import InputError

__all__ = ["trace"]

_INPUT = "image"
_MEND = (
    "use Conv2d, Linear, ReLU, ReLU6, Hardtanh, Hardswish, Hardsigmoid, AdaptiveAvgPool2d, +, * and zero padding, "
    "or keep this layer out of what is exported"
)
_HINTS: dict[type[nn.Module], str] = {
    nn.GroupNorm: "use BatchNorm2d after the convolution, which folds into it",
    nn.Conv1d: "use Conv2d on windows (n, channels, 1, length)",
    nn.SiLU: "use Hardswish, its piecewise form, which int8 kernels have",
    nn.Sigmoid: "use Hardsigmoid, its piecewise form, which int8 kernels have",
    nn.GELU: "use Hardswish, which int8 kernels have",
    nn.MaxPool2d: "use a convolution of stride 2",
    nn.AvgPool2d: "use a convolution of stride 2, or AdaptiveAvgPool2d at the end",
}


def trace(model: nn.Module, input_shape: tuple[int, int, int], classes: tuple[str, ...] = ()) -> Graph:
    """The operations of a network; batch norms after convolutions are folded into them.

    Args:
        model: in inference mode; ``(n, channels, height, width)`` to ``(n, outputs)``.
        input_shape: channels, height, width of one example.
        classes: names of the outputs, where they are classes.

    Raises:
        InputError: the network holds a layer that has no rule here (named, with what to use instead), its control
            flow depends on the input, or the input does not fit it.
    """
    try:
        traced = fx.symbolic_trace(model)
    except Exception as error:  # tracing runs the model's own code, which may raise anything
        raise InputError(
            f"the network cannot be traced: {error}",
            where=type(model).__name__,
            mend="its forward must be the same operations for every input: no branch or loop on the input's values",
        ) from error
    tracer = _Tracer(traced)
    graph = Graph(_INPUT, input_shape, tuple(tracer.nodes), classes)
    _ = graph.shapes  # refuses an input that does not fit
    return graph


class _Tracer:
    """Walks an fx graph once; ``_tensor`` maps fx nodes to the tensors they stand for, ``_pads`` to padding."""

    def __init__(self, module: fx.GraphModule) -> None:
        self.nodes: list[Node] = []
        self._modules = dict(module.named_modules())
        self._tensor: dict[fx.Node, str] = {}
        self._pads: dict[fx.Node, tuple[int, int, int, int]] = {}
        for node in module.graph.nodes:
            self._visit(node)

    def _visit(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            if self._tensor:
                raise InputError("the network has more than one input", where=node.name)
            self._tensor[node] = _INPUT
        elif node.op == "output":
            if not self.nodes:
                raise InputError("the network has no operation to export", where=_INPUT)
            if self._read(node.args[0]) != self.nodes[-1].name:
                raise InputError("the network's output is not its last operation", where=self.nodes[-1].name)
        elif node.op == "call_module":
            self._module(node, self._modules[str(node.target)])
        elif node.op == "call_function" and node.target in _FUNCTIONS:
            _FUNCTIONS[node.target](self, node)
        elif node.op == "call_method" and node.target in _METHODS:
            _METHODS[str(node.target)](self, node)
        else:
            what = getattr(node.target, "__name__", str(node.target))
            raise InputError(f"no rule exports the operation {what}", where=node.name, mend=_MEND)

    def _module(self, node: fx.Node, module: nn.Module) -> None:
        if isinstance(module, nn.Identity | nn.Dropout):
            self._tensor[node] = self._read(node.args[0])
        elif isinstance(module, nn.Conv2d):
            self._conv(node, module)
        elif isinstance(module, nn.Linear):
            weight, bias = _constants(module)
            self._add(node, "linear", weight=weight, bias=bias)
        elif isinstance(module, nn.BatchNorm2d):
            self._norm(node, module)
        elif isinstance(module, nn.Hardtanh):  # ReLU6 is one
            self._clamp(node, float(module.min_val), float(module.max_val))
        elif isinstance(module, nn.ReLU):
            self._clamp(node, 0.0, math.inf)
        elif isinstance(module, nn.Hardswish):
            self.hard_swish(node)
        elif isinstance(module, nn.Hardsigmoid):
            self.hard_sigmoid(node)
        elif isinstance(module, nn.AdaptiveAvgPool2d):
            self._fields(node, module.output_size)
        elif isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1):
            self._flatten(node)
        elif isinstance(module, nn.ZeroPad2d):
            self._padded(node, module.padding)
        else:
            hints = [hint for kind, hint in _HINTS.items() if isinstance(module, kind)]
            raise InputError(
                f"no rule exports a {type(module).__name__} layer",
                where=str(node.target),
                mend=hints[0] if hints else _MEND,
            )

    def _conv(self, node: fx.Node, module: nn.Conv2d) -> None:
        where = str(node.target)
        if module.dilation != (1, 1):
            raise InputError("no rule exports a dilated convolution", where=where, mend="use dilation=1")
        if module.padding_mode != "zeros":
            raise InputError("no rule exports padding that is not zeros", where=where, mend="use padding_mode='zeros'")
        source: Any = node.args[0]
        pads = [around + own for around, own in zip(self._pads.get(source, (0,) * 4), _padding(module), strict=True)]
        weight, bias = _constants(module)
        self._add(
            node,
            "conv",
            padded=True,
            weight=weight,
            bias=bias,
            stride=module.stride,
            pads=tuple(pads),
            groups=module.groups,
        )

    def _norm(self, node: fx.Node, module: nn.BatchNorm2d) -> None:
        """Fold it into the convolution before it, as :func:`~skerry.device.models.folding.fold_norms` does."""
        last = self._before(node)
        if last is None or last.op != "conv" or last.clamped or module.running_mean is None:
            raise InputError(
                "only a norm with running statistics, right after a convolution, is exported",
                where=str(node.target),
                mend="place BatchNorm2d between a convolution and its activation",
            )
        if module.training:
            raise InputError("the network is in training mode", where=str(node.target), mend="call model.eval() first")
        weight, bias = fuse_conv_bn_weights(
            torch.from_numpy(last.weight),
            torch.from_numpy(last.bias),
            module.running_mean,
            module.running_var,  # type: ignore[arg-type]
            module.eps,
            module.weight,
            module.bias,
        )
        self.nodes[-1] = replace(last, weight=weight.detach().numpy(), bias=bias.detach().numpy())
        self._tensor[node] = last.name

    def pad(self, node: fx.Node) -> None:
        plain = node.kwargs.get("mode", "constant") == "constant" and node.kwargs.get("value") in {None, 0.0}
        if len(node.args) > 2 or set(node.kwargs) - {"mode", "value"} or not plain:
            raise InputError("only zero padding is exported", where=node.name)
        self._padded(node, _arguments(node)[1])

    def hardtanh(self, node: fx.Node) -> None:
        limits: list[Any] = [*node.args[1:], *(node.kwargs[k] for k in ("min_val", "max_val") if k in node.kwargs)]
        low, high = limits or (-1.0, 1.0)
        self._clamp(node, float(low), float(high))

    def clamp(self, node: fx.Node) -> None:
        values: dict[str, Any] = dict(zip(("input", "min", "max"), node.args, strict=False)) | node.kwargs
        given: list[Any] = [values.get(key) for key in ("min", "max")]
        low, high = -math.inf if given[0] is None else given[0], math.inf if given[1] is None else given[1]
        if isinstance(low, fx.Node) or isinstance(high, fx.Node):
            raise InputError("only clamping to constants is exported", where=node.name)
        self._clamp(node, float(low), float(high))

    def relu6(self, node: fx.Node) -> None:
        self._clamp(node, 0.0, 6.0)

    def relu(self, node: fx.Node) -> None:
        self._clamp(node, 0.0, math.inf)

    def hard_swish(self, node: fx.Node) -> None:
        self._add(node, "hard_swish")

    def hard_sigmoid(self, node: fx.Node) -> None:
        self._add(node, "hard_sigmoid")

    def mean(self, node: fx.Node) -> None:
        values = dict(zip(("input", "dim", "keepdim"), node.args, strict=False)) | node.kwargs
        axes: Any = values.get("dim")
        if axes is None or tuple(axes) not in {(2, 3), (-2, -1)} or set(values) - {"input", "dim", "keepdim"}:
            raise InputError("only the mean over height and width is exported", where=node.name, mend=_MEND)
        self._add(node, "pool", keepdims=bool(values.get("keepdim", False)))

    def adaptive_pool(self, node: fx.Node) -> None:
        if len(node.args) != 2:
            raise InputError("pooling without a size", where=node.name, mend=_MEND)
        self._fields(node, _arguments(node)[1])

    def _fields(self, node: fx.Node, size: Any) -> None:
        down, across = size if isinstance(size, tuple) else (size, size)
        if down is None or across is None:
            raise InputError("pooling to a size that depends on the input", where=node.name, mend=_MEND)
        self._add(node, "pool", grid=(int(down), int(across)), keepdims=True)

    def add(self, node: fx.Node) -> None:
        self._add(node, "add")

    def mul(self, node: fx.Node) -> None:
        self._add(node, "mul")

    def flatten(self, node: fx.Node) -> None:
        values = dict(zip(("input", "start_dim", "end_dim"), node.args, strict=False)) | node.kwargs
        if (values.get("start_dim", 0), values.get("end_dim", -1)) != (1, -1):
            raise InputError("only flattening of all but the first axis is exported", where=node.name)
        self._flatten(node)

    def _flatten(self, node: fx.Node) -> None:
        last = self._before(node)
        if last is None or last.op != "pool":
            raise InputError(
                "only pooled features are flattened", where=node.name, mend="pool with AdaptiveAvgPool2d before it"
            )
        self.nodes[-1] = replace(last, keepdims=False)
        self._tensor[node] = last.name

    def _padded(self, node: fx.Node, padding: Any) -> None:
        left, right, top, bottom = padding
        readers = [self._modules.get(str(user.target)) for user in node.users if user.op == "call_module"]
        if len(readers) != len(node.users) or not all(isinstance(reader, nn.Conv2d) for reader in readers):
            raise InputError("padding must be read by a convolution", where=node.name)
        source: Any = node.args[0]
        self._tensor[node] = self._read(source)
        self._pads[node] = (top, left, bottom, right)

    def _clamp(self, node: fx.Node, low: float, high: float) -> None:
        last = self._before(node)
        if last is None or last.op not in CLAMPABLE or last.clamped:
            raise InputError(
                "an activation must follow its convolution and be its only reader",
                where=node.name,
                mend="place it right after a convolution, a linear layer or an addition",
            )
        self.nodes[-1] = replace(last, low=low, high=high)
        self._tensor[node] = last.name

    def _before(self, node: fx.Node) -> Node | None:
        """The last operation, if this one reads it and is its only reader: what may be merged into it."""
        last = self.nodes[-1] if self.nodes else None
        if last is None or self._read(node.args[0]) != last.name:
            return None
        aliases = {alias for alias, tensor in self._tensor.items() if tensor == last.name}  # through Dropout, say
        readers = {reader for alias in aliases for reader in alias.users} - aliases
        return last if readers == {node} else None

    def _add(self, node: fx.Node, op: Any, *, padded: bool = False, **constants: Any) -> None:
        operands = 2 if op in {"add", "mul"} else 1
        inputs = tuple(self._read(source, padded=padded) for source in node.args[:operands])
        made = Node(op, self._name(node), inputs, **constants)
        self.nodes.append(made)
        self._tensor[node] = made.name

    def _name(self, node: fx.Node) -> str:
        """The layer's own name, its dots as underscores: free in this graph, and usable as a torch attribute."""
        name = re.sub(r"\W", "_", str(node.target) if node.op == "call_module" else node.name)
        name = name if re.match(r"[A-Za-z]", name) and not hasattr(nn.Module, name) else f"n_{name}"
        taken = {_INPUT, *(n.name for n in self.nodes)}
        return next(free for free in (name, *(f"{name}_{i}" for i in range(2, len(taken) + 3))) if free not in taken)

    def _read(self, source: Any, *, padded: bool = False) -> str:
        if not isinstance(source, fx.Node) or (source in self._pads and not padded):
            raise InputError("an operand is not a tensor of the network", where=str(source), mend=_MEND)
        return self._tensor[source]


_FUNCTIONS: dict[Any, Callable[[_Tracer, fx.Node], None]] = {
    functional.pad: _Tracer.pad,
    functional.hardtanh: _Tracer.hardtanh,
    functional.relu6: _Tracer.relu6,
    functional.relu: _Tracer.relu,
    functional.hardswish: _Tracer.hard_swish,
    functional.hardsigmoid: _Tracer.hard_sigmoid,
    functional.adaptive_avg_pool2d: _Tracer.adaptive_pool,
    torch.clamp: _Tracer.clamp,
    torch.relu: _Tracer.relu,
    torch.mean: _Tracer.mean,
    torch.flatten: _Tracer.flatten,
    operator.add: _Tracer.add,
    torch.add: _Tracer.add,
    operator.mul: _Tracer.mul,
    torch.mul: _Tracer.mul,
}
_METHODS: dict[str, Callable[[_Tracer, fx.Node], None]] = {
    "mean": _Tracer.mean,
    "flatten": _Tracer.flatten,
    "add": _Tracer.add,
    "mul": _Tracer.mul,
    "relu": _Tracer.relu,
}


def _arguments(node: fx.Node) -> tuple[Any, ...]:
    """The positional arguments; fx types them as everything that could ever be one."""
    return node.args


def _padding(module: nn.Conv2d) -> tuple[int, int, int, int]:
    """Zeros at top, left, bottom, right that the layer itself adds."""
    if module.padding == "valid":
        return (0, 0, 0, 0)
    if module.padding == "same":  # stride 1 alone has it in torch; the odd zero lies at the end
        height, width = (k - 1 for k in module.kernel_size)
        return (height // 2, width // 2, height - height // 2, width - width // 2)
    height, width = (int(side) for side in module.padding)
    return (height, width, height, width)


def _constants(module: nn.Conv2d | nn.Linear) -> tuple[Any, Any]:
    weight = module.weight.detach()
    bias = torch.zeros(len(weight)) if module.bias is None else module.bias.detach()
    return weight.numpy().copy(), bias.numpy().copy()
