"""From an ONNX model that skerry wrote back to the graph, and to the quantization when it is int8.

The inverse of :mod:`~skerry.device.compression.onnx_export`: a delivered file can be run in torch, lowered for another
runtime, compressed further, without the code or the run that made it. A head that delivery appended is a ``linear``
node like any other. An int8 model keeps the clamps that its uint8 ranges imply.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from skerry.device.compression.graph import Graph, Node, Shape
from skerry.device.compression.quantize import Quantization, QuantizedWeights, Scale, StoredWeights
from skerry.errors import InputError

__all__ = ["from_onnx"]

_PLAIN: dict[str, Any] = {"Add": "add", "Mul": "mul", "HardSwish": "hard_swish", "HardSigmoid": "hard_sigmoid"}


def from_onnx(model: onnx.ModelProto, classes: tuple[str, ...] = ()) -> tuple[Graph, Quantization | None]:
    """The graph of a model, and its quantization where it holds quantize/dequantize pairs.

    Weights of a quantized model come back as the numbers that its integers stand for.

    Args:
        model: as :func:`~skerry.device.compression.onnx_export.to_onnx` writes it.
        classes: names of the outputs, which ONNX has no place for.

    Raises:
        InputError: it holds something that skerry does not write; names it.
    """
    reader = _Reader(model.graph)
    for node in model.graph.node:
        reader.node(node)
    nodes = list(reader.nodes.values())
    if not nodes or reader.tensor(model.graph.output[0].name) != nodes[-1].name:
        raise InputError("the model's output is not its last operation", where=model.graph.output[0].name)
    graph = Graph(reader.input, reader.input_shape, tuple(nodes), classes)
    _ = graph.shapes
    return graph, Quantization(reader.scales, reader.weights, reader.stored) if reader.scales else None


class _Reader:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes: dict[str, Node] = {}
        self.scales: dict[str, Scale] = {}
        self.weights: dict[str, QuantizedWeights] = {}
        self.stored: dict[str, StoredWeights] = {}
        self._casts: dict[str, npt.NDArray[np.int8]] = {}
        self._stored: dict[str, StoredWeights] = {}  # the same by ONNX tensor
        self._constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        self._norms: dict[str, tuple[str, str, float]] = {}  # a step of clip_norm -> which, of what tensor, the bound
        self._integers: dict[str, tuple[npt.NDArray[Any], npt.NDArray[np.float32]]] = {}
        inputs = [one for one in graph.input if one.name not in self._constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise InputError(f"{len(inputs)} inputs and {len(graph.output)} outputs; one of each is needed")
        sizes = [dimension.dim_value for dimension in inputs[0].type.tensor_type.shape.dim]
        if len(sizes) != 4 or min(sizes[1:]) < 1:
            raise InputError(f"the input's shape is {sizes}, not (n, channels, height, width)", where=inputs[0].name)
        self.input = inputs[0].name
        self.input_shape = (sizes[1], sizes[2], sizes[3])
        self._tensors = {self.input: self.input}  # ONNX tensor -> the graph's tensor whose value it holds

    def tensor(self, name: str) -> str:
        if name not in self._tensors:
            raise InputError("reads a tensor that is not computed here", where=name)
        found: str = self._tensors[name]
        return found

    def node(self, node: onnx.NodeProto) -> None:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        kind = node.op_type
        if kind == "DequantizeLinear" and node.input[0] in self._constants:
            self._integers[node.output[0]] = (self._constants[node.input[0]], self._constants[node.input[1]])
        elif kind in {"Cast", "Mul"} and all(name in self._constants for name in node.input):
            self._fold(node, attributes)
        elif kind == "Mul" and node.input[1] in self._norms:
            self._shorten(node, attributes)
        elif kind in self._rules:
            self._rules[kind](self, node, attributes)
        elif kind in _PLAIN and _plain(kind, attributes):
            self._add(node, Node(_PLAIN[kind], _name(node), tuple(self.tensor(name) for name in node.input)))
        else:
            raise InputError(f"skerry writes no {kind} of this form", where=node.name or node.output[0])

    def _pair(self, node: onnx.NodeProto, _attributes: dict[str, Any]) -> None:
        tensor = self.tensor(node.input[0])
        step, zero = (self._constants[name] for name in node.input[1:3])
        if step.size != 1 or zero.dtype != np.uint8:
            raise InputError("an activation is not quantized to uint8 as a whole", where=node.output[0])
        self.scales[tensor] = scale = Scale(float(step.reshape(())), int(zero.reshape(())))
        made = self.nodes.get(tensor)
        if made is not None and made.op in {"conv", "linear", "add"} and not made.clamped:
            self.nodes[tensor] = replace(made, low=scale.low, high=scale.high)
        self._tensors[node.output[0]] = tensor

    def _clip(self, node: onnx.NodeProto, _attributes: dict[str, Any]) -> None:
        tensor = self.tensor(node.input[0])
        limits = [*node.input[1:], "", ""][:2]
        low, high = (float(self._constants[name]) if name else math.nan for name in limits)
        made = self.nodes[tensor]
        self.nodes[tensor] = replace(
            made, low=-math.inf if math.isnan(low) else low, high=math.inf if math.isnan(high) else high
        )
        self._tensors[node.output[0]] = tensor

    def _flatten(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        tensor = self.tensor(node.input[0])
        if attributes.get("axis", 1) != 1 or self.nodes[tensor].op != "pool":
            raise InputError("only pooled features are flattened", where=node.name)
        self.nodes[tensor] = replace(self.nodes[tensor], keepdims=False)
        self._tensors[node.output[0]] = tensor

    def _mean(self, node: onnx.NodeProto, _attributes: dict[str, Any]) -> None:
        self._add(node, Node("pool", _name(node), (self.tensor(node.input[0]),), keepdims=True))

    def _fields(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        field = attributes["kernel_shape"]
        plain = {"kernel_shape", "strides"} == set(attributes) and list(attributes["strides"]) == list(field)
        if not plain or len(field) != 2 or min(field) < 1:
            raise InputError("skerry writes no AveragePool of this form", where=node.name)
        shapes: dict[str, Shape] = {self.input: self.input_shape}
        for made in self.nodes.values():
            shapes[made.name] = made.output_shape(*(shapes[name] for name in made.inputs))
        source = self.tensor(node.input[0])
        if len(shapes[source]) != 3 or any(s % f for s, f in zip(shapes[source][1:], field, strict=True)):
            raise InputError("the fields of an AveragePool do not fill its input", where=node.name)
        grid = (shapes[source][1] // field[0], shapes[source][2] // field[1])
        self._add(node, Node("pool", _name(node), (source,), grid=grid, keepdims=True))

    def _fold(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        """Cast, then Mul: float weights that are stored as integers, with a scale for each input."""
        first = self._constants[node.input[0]]
        if node.op_type == "Cast" and first.dtype == np.int8 and attributes["to"] == onnx.TensorProto.FLOAT:
            self._constants[node.output[0]] = first.astype(np.float32)
            self._casts[node.output[0]] = first
            return
        scale = self._constants[node.input[-1]]
        if node.op_type == "Cast" or node.input[0] not in self._casts or first.shape[1:] != scale.shape:
            raise InputError(f"skerry writes no {node.op_type} of this form", where=node.name or node.output[0])
        self._stored[node.output[0]] = StoredWeights(self._casts[node.input[0]], scale)
        self._constants[node.output[0]] = first * scale

    def _norm(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if list(attributes.get("axes", [])) != [1] or attributes.get("keepdims", 1) != 1:
            raise InputError("skerry writes no ReduceL2 of this form", where=node.name)
        self._norms[node.output[0]] = ("ReduceL2", self.tensor(node.input[0]), math.inf)

    def _shorten(self, node: onnx.NodeProto, _attributes: dict[str, Any]) -> None:
        """A step from a norm to ``clip_norm``: Max, then Div, then Mul (:mod:`.onnx_parts`)."""
        kind, (first, second) = node.op_type, node.input
        before, tensor, bound = self._norms.get(first if kind == "Max" else second, ("", "", math.nan))
        constant = self._constants.get(second if kind == "Max" else first)
        number = float(constant) if constant is not None and constant.shape == () else math.nan
        if kind == "Max" and before == "ReduceL2" and not math.isnan(number):
            self._norms[node.output[0]] = ("Max", tensor, number)
        elif kind == "Div" and before == "Max" and number == bound:
            self._norms[node.output[0]] = ("Div", tensor, bound)
        elif kind == "Mul" and before == "Div" and self._tensors.get(first) == tensor:
            self._add(node, Node("clip_norm", _name(node), (tensor,), bound=bound))
        else:
            raise InputError(f"skerry writes no {kind} of this form", where=node.name or node.output[0])

    def _conv(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        weight, bias = self._numbers(node)
        stride = attributes.get("strides", [1, 1])
        pads = attributes.get("pads", [0, 0, 0, 0])
        plain = set(attributes.get("dilations", [1, 1])) == {1} and attributes.get("auto_pad", b"NOTSET") == b"NOTSET"
        if weight.ndim != 4 or not plain:
            raise InputError("skerry writes no convolution of this form", where=node.name)
        made = Node(
            "conv",
            _name(node),
            (self.tensor(node.input[0]),),
            weight,
            bias,
            stride=(stride[0], stride[1]),
            pads=(pads[0], pads[1], pads[2], pads[3]),
            groups=attributes.get("group", 1),
        )
        self._add(node, made)

    def _linear(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        plain = attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1.0 and not attributes.get("transA", 0)
        if not plain:
            raise InputError("skerry writes no Gemm of this form", where=node.name)
        weight, bias = self._numbers(node)
        if not attributes.get("transB", 0):
            weight = np.ascontiguousarray(weight.T)
        elif node.input[1] in self._stored:
            self.stored[_name(node)] = self._stored[node.input[1]]
        self._add(node, Node("linear", _name(node), (self.tensor(node.input[0]),), weight, bias))

    def _numbers(self, node: onnx.NodeProto) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Weight and bias as float32; integers are noted under the node's name."""
        if len(node.input) != 3:
            raise InputError("skerry writes no operation without a bias", where=node.name)
        if node.input[1] not in self._integers:
            if any(name not in self._constants for name in node.input[1:]):
                raise InputError("weights are not constants", where=node.name)
            weight, bias = (np.array(self._constants[name]) for name in node.input[1:])
            return weight, bias
        values, scale = self._integers[node.input[1]]
        integers, bias_scale = self._integers[node.input[2]]
        self.weights[_name(node)] = QuantizedWeights(values, scale, integers, bias_scale)
        shape = (-1, *[1] * (values.ndim - 1))
        return (values * scale.reshape(shape)).astype(np.float32), (integers * bias_scale).astype(np.float32)

    def _add(self, node: onnx.NodeProto, made: Node) -> None:
        self.nodes[made.name] = made
        self._tensors[node.output[0]] = made.name

    _rules: ClassVar[Mapping[str, Callable[["_Reader", onnx.NodeProto, dict[str, Any]], None]]] = MappingProxyType(
        {
            "QuantizeLinear": _pair,
            "DequantizeLinear": _pair,
            "Clip": _clip,
            "Flatten": _flatten,
            "Conv": _conv,
            "Gemm": _linear,
            "AveragePool": _fields,
            "GlobalAveragePool": _mean,
            "ReduceL2": _norm,
            "Max": _shorten,
            "Div": _shorten,
        }
    )


def _name(node: onnx.NodeProto) -> str:
    """The graph's name of an operation: ONNX tensors on the way to its value have an ending of their own."""
    output: str = node.output[0]
    return output.partition(".")[0]


def _plain(kind: str, attributes: dict[str, Any]) -> bool:
    if kind != "HardSigmoid":
        return True
    return math.isclose(attributes.get("alpha", 0.2), 1 / 6, rel_tol=1e-6) and attributes.get("beta", 0.5) == 0.5
