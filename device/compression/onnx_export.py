"""From a graph to an ONNX model: the float32 one, and int8 with quantize/dequantize pairs (QDQ).

The int8 model states *what* is computed (int8 weights per output channel, uint8 activations per tensor); onnxruntime
fuses each pair of QDQ around an operator into one integer kernel. Opset 17, IR 8: what onnxruntime 1.13 and later,
onnxruntime-web and the ONNX reference evaluator read.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from skerry.device.compression.graph import Graph, Node
from skerry.device.compression.onnx_parts import clip_norm_nodes, stored_weight_nodes
from skerry.device.compression.quantize import Quantization, Scale

__all__ = ["OPSET", "to_onnx"]

OPSET = 17
_IR = 8
_OPERATORS = {"add": "Add", "mul": "Mul", "hard_swish": "HardSwish"}


def to_onnx(graph: Graph, quantization: Quantization | None = None) -> onnx.ModelProto:
    """The network as ONNX: one input ``(n, channels, height, width)`` float32, output ``(n, outputs)``, n free.

    Args:
        graph: the network.
        quantization: what :func:`~skerry.device.compression.quantize.quantize` found; None exports float32.
    """
    writer = _Writer(graph, quantization)
    for node in graph.nodes:
        writer.node(node)
    value = helper.make_tensor_value_info
    proto = helper.make_graph(
        writer.nodes,
        "base",
        [value(graph.input, TensorProto.FLOAT, ["n", *graph.input_shape])],
        [value(graph.output, TensorProto.FLOAT, ["n", graph.outputs])],
        writer.constants,
    )
    model = helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR, producer_name="skerry"
    )
    onnx.checker.check_model(model, full_check=True)
    return model


class _Writer:
    def __init__(self, graph: Graph, quantization: Quantization | None) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._input = graph.input
        self._shapes = graph.shapes
        self._quantization = quantization
        self._dequantized: set[str] = set()
        self._shared: set[str] = set()

    def node(self, node: Node) -> None:
        quantization = self._quantization
        inputs = [self._read(name) for name in node.inputs]
        raw = node.name if quantization is None or node.name not in quantization.tensors else f"{node.name}.raw"
        if node.op == "conv":
            self._conv(node, inputs[0], raw)
        elif node.op == "linear":
            self._linear(node, inputs[0], raw)
        elif node.op == "pool":
            mean = raw if node.keepdims else f"{node.name}.mean"
            if node.grid == (1, 1):
                self._emit("GlobalAveragePool", inputs, mean)
            else:
                field = [side // n for side, n in zip(self._shapes[node.inputs[0]][1:], node.grid, strict=True)]
                self._emit("AveragePool", inputs, mean, kernel_shape=field, strides=field)
            if not node.keepdims:
                self._emit("Flatten", [mean], raw, axis=1)
        elif node.op == "hard_sigmoid":
            self._emit("HardSigmoid", inputs, raw, alpha=1 / 6, beta=0.5)
        elif node.op == "clip_norm":
            self.nodes += clip_norm_nodes(inputs[0], raw)
            self._constant(f"{raw}.bound", np.float32(node.bound))
        else:
            self._emit(_OPERATORS[node.op], inputs, self._unclamped(node, raw))
            self._clamp(node, raw)

    def _conv(self, node: Node, source: str, raw: str) -> None:
        assert node.weight is not None
        assert node.bias is not None
        attributes = {
            "kernel_shape": list(node.weight.shape[2:]),
            "strides": list(node.stride),
            "pads": list(node.pads),
            "group": node.groups,
        }
        quantization = self._quantization
        if quantization is None:
            weight = self._constant(f"{node.name}.weight", node.weight)
            bias = self._constant(f"{node.name}.bias", node.bias)
        else:
            found = quantization.weights[node.name]
            weight = self._dequantize(f"{node.name}.weight", found.values, found.scale, axis=0)
            bias = self._dequantize(f"{node.name}.bias", found.bias, found.bias_scale, axis=0)
        self._emit("Conv", [source, weight, bias], self._unclamped(node, raw), **attributes)
        self._clamp(node, raw)

    def _linear(self, node: Node, source: str, raw: str) -> None:
        assert node.weight is not None
        assert node.bias is not None
        found = None if self._quantization is None else self._quantization.weights.get(node.name)
        if found is None:
            constants = [self._float_weight(node), self._constant(f"{node.name}.bias", node.bias)]
        else:
            constants = [
                self._dequantize(f"{node.name}.weight", found.values, found.scale, axis=0),
                self._dequantize(f"{node.name}.bias", found.bias, found.bias_scale, axis=0),
            ]
        self._emit("Gemm", [source, *constants], self._unclamped(node, raw), transB=1)
        self._clamp(node, raw)

    def _float_weight(self, node: Node) -> str:
        assert node.weight is not None
        name = f"{node.name}.weight"
        stored = None if self._quantization is None else self._quantization.stored.get(node.name)
        if stored is None or not stored.are(node.weight):
            return self._constant(name, node.weight)
        self._constant(f"{node.name}.values", stored.values)
        self._constant(f"{node.name}.scale", stored.scale)
        self.nodes += stored_weight_nodes(node.name)
        return name

    def _clamps(self, node: Node) -> bool:
        """Whether the clamp needs an operator: uint8 that ends at or below the upper clamp *is* the clamp."""
        scale = None if self._quantization is None else self._quantization.tensors.get(node.name)
        return node.clamped and not (scale is not None and scale.clamps(node.low, node.high))

    def _unclamped(self, node: Node, raw: str) -> str:
        return f"{node.name}.linear" if self._clamps(node) else raw

    def _clamp(self, node: Node, raw: str) -> None:
        if self._clamps(node):
            low = self._constant(f"{node.name}.low", np.float32(node.low)) if math.isfinite(node.low) else ""
            high = self._constant(f"{node.name}.high", np.float32(node.high)) if math.isfinite(node.high) else ""
            self._emit("Clip", [f"{node.name}.linear", low, high], raw)

    def _read(self, name: str) -> str:
        """The float tensor to read: through a quantize/dequantize pair where the tensor is quantized."""
        if self._quantization is None or name not in self._quantization.tensors:
            return name
        result = f"{name}.dequantized"
        if name not in self._dequantized:
            self._dequantized.add(name)
            scale = self._quantization.tensors[name]
            raw = name if name == self._input else f"{name}.raw"
            pair = self._scale(name, scale)
            self._convert("QuantizeLinear", [raw, *pair], f"{name}.quantized")
            self._convert("DequantizeLinear", [f"{name}.quantized", *pair], result)
        return result

    def _scale(self, name: str, scale: Scale) -> list[str]:
        return [
            self._constant(f"{name}.scale", np.float32(scale.step)),
            self._constant(f"{name}.zero", np.uint8(scale.zero)),
        ]

    def _dequantize(self, name: str, values: npt.NDArray[np.integer], scale: npt.NDArray[np.float32], axis: int) -> str:
        parts = [
            self._constant(f"{name}.int", values),
            self._constant(f"{name}.scale", scale),
            self._zeros(len(scale), values.dtype),
        ]
        self._convert("DequantizeLinear", parts, name, axis=axis)
        return name

    def _zeros(self, count: int, kind: np.dtype[Any]) -> str:
        """Zero points of a constant: all of one length and kind are the same tensor, so that it is stored once."""
        name = f"zeros.{kind.name}.{count}"
        if name not in self._shared:
            self._shared.add(name)
            self._constant(name, np.zeros(count, kind))
        return name

    def _constant(self, name: str, value: npt.ArrayLike) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _convert(self, op: str, inputs: list[str], output: str, **attributes: Any) -> None:
        """A node between integers and numbers; without a name, which a small file has no room for a hundred of."""
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))

    def _emit(self, op: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
