"""A model that skerry wrote comes back as the graph that it was; a stranger's is refused by name."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from skerry.device.basemodel import BaseModel
from skerry.device.compression.onnx_export import to_onnx
from skerry.device.compression.onnx_import import from_onnx
from skerry.device.compression.quantize import quantize
from skerry.device.deliverable import assemble_model
from skerry.errors import InputError


def test_the_float_model_comes_back_exactly(tiny_graph):
    graph, quantization = from_onnx(to_onnx(tiny_graph), tiny_graph.classes)
    assert quantization is None
    assert (graph.input, graph.input_shape, graph.classes) == (
        tiny_graph.input,
        tiny_graph.input_shape,
        tiny_graph.classes,
    )
    for back, node in zip(graph.nodes, tiny_graph.nodes, strict=True):
        assert {k: v for k, v in back.__dict__.items() if k not in {"weight", "bias"}} == {
            k: v for k, v in node.__dict__.items() if k not in {"weight", "bias"}
        }
        for part in ("weight", "bias"):
            assert np.array_equal(getattr(back, part), getattr(node, part))


@pytest.mark.parametrize("bits", [8, 32])
def test_what_comes_back_is_written_again_as_the_same_bytes(base: BaseModel, bits):
    model = onnx.load(str(base.file(bits)))
    graph, quantization = from_onnx(model)
    assert (quantization is not None) == (bits == 8)
    assert to_onnx(graph, quantization).SerializeToString() == base.file(bits).read_bytes()


def test_a_quantized_model_comes_back_with_the_numbers_its_integers_stand_for(tiny_graph):
    noise = np.random.default_rng(0).standard_normal((16, 3, 16, 16), np.float32)
    found = quantize(tiny_graph, noise)
    graph, back = from_onnx(to_onnx(tiny_graph, found))
    assert dict(back.tensors) == dict(found.tensors)
    for name, weights in found.weights.items():
        node = next(n for n in graph.nodes if n.name == name)
        assert np.array_equal(back.weights[name].values, weights.values)
        assert np.array_equal(
            node.weight.reshape(len(node.weight), -1).T,
            (weights.values.reshape(len(node.weight), -1).T * weights.scale).astype(np.float32),
        )


def test_a_delivered_model_comes_back_with_its_head(base: BaseModel, few, tmp_path):
    files = assemble_model(base, base.initial, tmp_path, {"run": "r"})
    graph, _ = from_onnx(onnx.load(str(files["model.int8.onnx"])), base.classes)
    assert (graph.nodes[-1].op, graph.outputs, graph.output) == ("linear", 10, "scores")


@pytest.mark.parametrize("op", ["MaxPool", "Sigmoid"])
def test_an_operation_that_skerry_does_not_write_is_named(op):
    value = helper.make_tensor_value_info
    shape = ["n", 3, 8, 8]
    attributes = {"kernel_shape": [1, 1]} if op == "MaxPool" else {}
    graph = helper.make_graph(
        [helper.make_node(op, ["image"], ["out"], **attributes)],
        "g",
        [value("image", TensorProto.FLOAT, shape)],
        [value("out", TensorProto.FLOAT, shape)],
    )
    with pytest.raises(InputError, match=op):
        from_onnx(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
