"""int8: small, close to float, calibrated on public pictures only, and free of silent saturation."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from skerry.device.basemodel import BaseModel
from skerry.device.compression.graph import Graph, Node
from skerry.device.compression.onnx_export import to_onnx
from skerry.device.compression.quantize import Scale, quantize
from skerry.device.tasks import evaluate
from skerry.records import Examples


def everybody(digits) -> Examples:
    """Every other digit of all fourteen writers, none of which the public head was shown: three are too few."""
    held = [*digits.evaluation().values(), *(digits.local_data(d) for d in digits.devices())]
    return Examples.concatenate([data.select(np.arange(0, len(data), 2)) for data in held])


def test_int8_is_less_than_a_third_of_float(base: BaseModel):
    assert base.file(8).stat().st_size <= 0.30 * base.file(32).stat().st_size


def test_int8_predicts_as_float_does(base: BaseModel, digits):
    data = everybody(digits)
    x = digits.transform(data.x)
    head = base.initial.reshape(10, -1)
    quantized, floating = base.features(x) @ head.T, base.float_features(x) @ head.T
    assert (quantized.argmax(1) == floating.argmax(1)).mean() >= 0.95
    assert abs(evaluate(quantized, data.y).accuracy - evaluate(floating, data.y).accuracy) <= 0.01


def test_every_convolution_is_stored_in_int8(base: BaseModel):
    model = onnx.load(str(base.file(8)))
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    stored = {init.name: init.data_type for init in model.graph.initializer}
    for node in convolutions:
        assert stored[f"{node.input[1]}.int"] == onnx.TensorProto.INT8
    assert len(convolutions) == 49


def test_no_pair_of_weights_can_saturate_a_16_bit_sum(base: BaseModel):
    model = onnx.load(str(base.file(8)))
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    groups = {n.input[1]: next(a.i for a in n.attribute if a.name == "group") for n in convolutions}
    for init in model.graph.initializer:
        name = init.name.removesuffix(".int")
        if name in groups and groups[name] == 1:
            values = numpy_helper.to_array(init).astype(int)
            flat = values.transpose(0, 2, 3, 1).reshape(len(values), -1)
            even = flat.shape[1] // 2 * 2
            assert np.abs(flat[:, 0:even:2] + flat[:, 1:even:2]).max() <= 128


def test_quantization_depends_on_the_calibration_pictures_alone(base: BaseModel, digits, few):
    """The same weights and calibration give the same constants; other pictures give others."""
    from skerry.device.compression.trace import trace
    from skerry.device.models.folding import fold_norms
    from skerry.device.models.weights import load_published

    graph = trace(fold_norms(load_published("efficientnet_lite0", 64, classifier=False)), (3, 64, 64))
    once, again = quantize(graph, few[:8]), quantize(graph, few[:8])
    other = quantize(graph, few[8:16])
    assert to_onnx(graph, once).SerializeToString() == to_onnx(graph, again).SerializeToString()
    assert any(once.tensors[name] != other.tensors[name] for name in once.tensors)


def test_a_dead_channel_keeps_its_bias():
    weight = np.zeros((2, 3, 1, 1), np.float32)
    weight[1] = 0.5
    node = Node("conv", "t00", ("image",), weight, np.array([3.0, -1.0], np.float32))
    graph = Graph("image", (3, 4, 4), (node, Node("pool", "t01", ("t00",))))
    found = quantize(graph, np.random.default_rng(0).normal(size=(4, 3, 4, 4)).astype(np.float32))
    constants = found.weights["t00"]
    assert constants.bias * constants.bias_scale == pytest.approx([3.0, -1.0], abs=0.05)


def test_a_scale_represents_zero_exactly():
    import torch

    scale = Scale(0.1, 17)
    assert float(scale.round(torch.zeros(1))) == 0.0
    assert scale.low == pytest.approx(-1.7)
    assert scale.high == pytest.approx(23.8)
