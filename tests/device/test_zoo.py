"""Every declared network is the published one, for any input, and goes all the way from a seed to int8."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch.nn import functional

from skerry.device.compression.graph_module import GraphModule
from skerry.device.compression.onnx_export import to_onnx
from skerry.device.compression.quantize import quantize
from skerry.device.compression.trace import trace
from skerry.device.models import ARCHITECTURES, architecture, build_network
from skerry.device.models.blocks import round_channels
from skerry.device.models.folding import fold_norms
from skerry.device.models.published import weights_file
from skerry.device.models.weights import load_published, published_names
from skerry.device.runtime import OnnxModel
from skerry.errors import InputError, ScenarioError

DOCS = Path(__file__).parents[2] / "docs" / "models.md"
LITES = [name for name in ARCHITECTURES if name.startswith("efficientnet_lite")]
PICTURES = [name for name in ARCHITECTURES if name != "ds_cnn"]


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def close(ours, theirs, tolerance=1e-4):
    return float((ours - theirs).abs().max()) <= tolerance * max(1.0, float(theirs.abs().max()))


# --- the published networks -------------------------------------------------------------------------------------------


@torch.no_grad()
def test_lite0_gives_the_logits_of_the_code_its_weights_were_published_with():
    theirs = EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(torch.load(weights_file("efficientnet_lite0"), weights_only=True))
    x = normal(2, 3, 224, 224)
    ours = load_published("efficientnet_lite0", 224, classifier=True)
    assert float((ours(x) - theirs(x)).abs().max()) < 1e-4
    folded = GraphModule(trace(fold_norms(ours), (3, 224, 224)))
    assert float((folded(x) - theirs(x)).abs().max()) < 1e-4


@pytest.mark.parametrize("name", LITES)
@torch.no_grad()
def test_each_lite_variant_is_the_published_code_s_network(name):
    """The same weights and statistics, random ones, in the code that the published weights come with."""
    size = 65
    theirs = EfficientNet.from_name(name.replace("_", "-"), image_size=size, num_classes=11).eval()
    ours = build_network(name, inputs=(3, size, size), classes=11, seed=5).eval()
    state = {
        key: normal(*value.shape, seed=i).abs() * 0.3 + 0.7 if key.endswith(("norm.weight", "var")) else value
        for i, (key, value) in enumerate(ours.state_dict().items())
    }
    ours.load_state_dict(state)
    theirs.load_state_dict({published: state[key] for key, published in published_names(ours).items()})
    x = normal(2, 3, size, size)
    assert float(ours(x).std()) > 1e-3
    assert close(ours(x), theirs(x))


# Parameters: torchvision's and timm's tables; Lite: those of the published code. MACs, in millions: of the papers, and
# tensorflow/tpu's README for Lite, whose figure counts six operations an activation beside (norm and ReLU6).
PUBLISHED = {
    "efficientnet_lite0": (4_652_008, 407, 3),
    "efficientnet_lite1": (5_416_680, 631, 3),
    "efficientnet_lite2": (6_092_072, 899, 3),
    "efficientnet_lite3": (8_197_096, 1440, 3),
    "efficientnet_lite4": (13_006_568, 2640, 3),
    "mobilenet_v2": (3_504_872, 300, 0),
    "mobilenet_v3_small": (2_542_856, 56, 0),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_macs_are_the_published_ones(name):
    declared = architecture(name)
    network = build_network(name, inputs=declared.published_inputs, classes=declared.classes).eval()
    parameters, macs, per_activation = PUBLISHED[name]
    assert sum(p.numel() for p in network.parameters()) == network.layout.size == parameters
    graph = trace(fold_norms(network), declared.published_inputs)
    activations = sum(math.prod(graph.shapes[node.name]) for node in graph.nodes if node.op == "conv")
    assert graph.macs() + per_activation * activations == pytest.approx(macs * 1e6, rel=0.01)
    assert network.features == declared.features == graph.nodes[-1].weight.shape[1]


@pytest.mark.parametrize(
    ("name", "width", "parameters", "macs"),
    # tensorflow/models, research/slim/nets/mobilenet/README.md; V3 at 0.75: timm (MACs there include more than layers)
    [
        ("mobilenet_v2", 1.4, 6.06, 582),
        ("mobilenet_v2", 0.75, 2.61, 209),
        ("mobilenet_v2", 0.5, 1.95, 97),
        ("mobilenet_v2", 0.35, 1.66, 59),
        ("mobilenet_v3_small", 0.75, 2.04, None),
    ],
)
def test_widths_are_the_published_ones(name, width, parameters, macs):
    network = build_network(name, inputs=(3, 224, 224), classes=1000, width=width).eval()
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(parameters * 1e6, rel=0.02)
    if macs is not None:
        assert trace(fold_norms(network), (3, 224, 224)).macs() == pytest.approx(macs * 1e6, rel=0.01)


def test_ds_cnn_is_the_small_one_of_hello_edge():
    """Table 5 of arXiv:1711.07128: 38.6 kB of 8-bit weights and two largest activations, 5.4 M operations."""
    network = build_network("ds_cnn", inputs=(1, 49, 10), classes=12).eval()
    graph = trace(fold_norms(network), (1, 49, 10))
    widest = max(math.prod(shape) for shape in graph.shapes.values())
    assert graph.parameters() + 2 * widest == pytest.approx(38_600, rel=0.001)
    assert 2 * graph.macs() == pytest.approx(5.4e6, rel=0.02)
    assert {node.weight.shape[2:] for node in graph.nodes[:3]} == {(10, 4), (3, 3), (1, 1)}


def test_channels_are_rounded_to_eights_and_never_lose_more_than_a_tenth():
    for asked in range(1, 400):
        rounded = round_channels(asked)
        assert rounded % 8 == 0
        assert rounded >= 0.9 * asked
        assert abs(rounded - asked) < 8
    assert [round_channels(c) for c in (3, 11.2, 12, 44.8, 67.2)] == [8, 16, 16, 48, 64]


# --- any input, from a seed to int8 -----------------------------------------------------------------------------------


def shape_of(name, channels):
    return (channels, 1, 37) if name == "ds_cnn" else (channels, 33, 33)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_network_trains_folds_exports_and_quantizes(name, channels, tmp_path):
    shape, classes = shape_of(name, channels), 5
    network = build_network(name, inputs=shape, classes=classes, width=0.25, seed=1)
    x, y = normal(10, *shape), torch.arange(10) % classes

    before = functional.cross_entropy(network(x), y)
    before.backward()
    torch.optim.SGD(network.parameters(), lr=1e-4).step()  # small: so deep a network bends quickly
    assert functional.cross_entropy(network(x), y).item() < before.item()

    network.eval()
    with torch.no_grad():
        expected = network(x)
        graph = trace(fold_norms(network), shape)
        assert graph.outputs == classes
        assert close(GraphModule(graph)(x), expected)
    onnx.save(to_onnx(graph), tmp_path / "float.onnx")
    floating = OnnxModel(tmp_path / "float.onnx").run(x.numpy())
    assert close(torch.from_numpy(floating), expected)
    onnx.save(to_onnx(graph, quantize(graph, x.numpy())), tmp_path / "int8.onnx")
    rounded = OnnxModel(tmp_path / "int8.onnx").run(x.numpy())
    error = np.linalg.norm(rounded - floating) / np.linalg.norm(floating - floating.mean(0))
    assert error < 0.5  # a smoke alarm: what quantization costs a trained network is measured elsewhere


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_layout_names_every_parameter_of_the_flat_vector(name):
    network = build_network(name, inputs=shape_of(name, 1), classes=4, width=0.25)
    parts = {key: p.detach().numpy() for key, p in network.named_parameters()}
    vector = network.layout.join(parts)
    back = network.layout.split(vector)
    assert all(np.array_equal(parts[key], back[key]) for key in parts)
    graph = trace(fold_norms(network.eval()), shape_of(name, 1))
    assert graph.layout.size == graph.parameters()
    assert [key for key, _ in graph.layout.tensors] == [key for key, _ in GraphModule(graph).named_parameters()]


@pytest.mark.parametrize("shape", [(3, 28, 28), (3, 17, 17), (2, 48, 31), (3, 65, 130)])
@pytest.mark.parametrize("name", ["efficientnet_lite0", "mobilenet_v2", "mobilenet_v3_small"])
@torch.no_grad()
def test_odd_small_and_oblong_pictures_are_taken(name, shape):
    network = build_network(name, inputs=shape, classes=None, width=0.25).eval()
    graph = trace(fold_norms(network), shape)
    x = normal(2, *shape)
    assert network(x).shape == (2, network.features) == (2, graph.outputs)
    assert close(GraphModule(graph)(x), network(x))
    last = next(node for node in reversed(graph.nodes) if node.op == "conv" and node.weight.shape[2] > 1)
    assert graph.shapes[last.name][1:] == tuple(math.ceil(side / 32) for side in shape[1:])


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_too_small_for_the_strides_is_refused_with_the_least_size(name):
    with pytest.raises(InputError) as caught:
        build_network(name, inputs=(3, 16, 64), classes=2)
    assert "16x64" in caught.value.what
    assert "17x17" in caught.value.mend
    build_network(name, inputs=(3, 17, 17), classes=2, width=0.25)


def test_a_window_for_a_picture_network_is_sent_to_ds_cnn():
    with pytest.raises(InputError) as caught:
        build_network("mobilenet_v2", inputs=(6, 1, 128), classes=2)
    assert "ds_cnn" in caught.value.mend
    with pytest.raises(InputError, match="1x1"):
        build_network("ds_cnn", inputs=(6, 1, 1), classes=2)


@pytest.mark.parametrize(
    "wrong",
    [{"inputs": (3, 0, 64)}, {"inputs": (64, 64)}, {"classes": 0}, {"width": 0.0}, {"width": math.nan}, {"width": 99}],
)
def test_absurd_numbers_are_refused(wrong):
    with pytest.raises(InputError):
        build_network("mobilenet_v2", **({"inputs": (3, 64, 64), "classes": 10} | wrong))


def test_an_unknown_network_names_the_near_one():
    with pytest.raises(ScenarioError) as caught:
        build_network("mobilenetv2", inputs=(3, 64, 64), classes=10)
    assert "mobilenet_v2" in caught.value.mend


def test_weights_depend_on_the_seed_and_on_nothing_else():
    torch.manual_seed(1)
    one = build_network("ds_cnn", inputs=(6, 1, 50), classes=3, seed=9).state_dict()
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), drawn)
    torch.manual_seed(2)
    same = build_network("ds_cnn", inputs=(6, 1, 50), classes=3, seed=9).state_dict()
    other = build_network("ds_cnn", inputs=(6, 1, 50), classes=3, seed=10).state_dict()
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["stages.0.conv.weight"], other["stages.0.conv.weight"])


def test_a_tail_is_split_off_by_cutting_the_stages():
    network = build_network("mobilenet_v2", inputs=(3, 32, 32), classes=4, width=0.25).eval()
    x = normal(2, 3, 32, 32)
    with torch.no_grad():
        middle = network.stages[:12](x)
        assert close(network.classifier(network.stages[12:](middle).mean((2, 3))), network(x), 1e-6)


def test_a_network_without_published_weights_says_so():
    with pytest.raises(InputError, match="published weights") as caught:
        architecture("mobilenet_v2").load(64, classifier=False)
    assert "public data" in caught.value.mend


def test_the_table_in_the_docs_is_of_these_networks():
    """Written by `make bench-models`; stale when a network changed after it."""
    rows = [line.split(" | ") for line in DOCS.read_text(encoding="utf-8").splitlines() if "| fp32 |" in line]
    assert [row[0] for row in rows] == [f"| `{name}`" for name in ARCHITECTURES]
    for declared, row in zip(ARCHITECTURES.values(), rows, strict=True):
        network = build_network(declared.name, inputs=declared.published_inputs, classes=declared.classes).eval()
        graph = trace(network, declared.published_inputs)
        for said, counted in zip(row[3:5], (graph.parameters(), graph.macs()), strict=True):
            number, unit = said.split()
            assert float(number) * {"k": 1e3, "M": 1e6, "G": 1e9}[unit] == pytest.approx(counted, rel=0.005)
