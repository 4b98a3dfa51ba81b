"""A graph computes what the module it was traced from computes, in torch, in ONNX and after a trip through a file."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torch import nn
from torch.nn import functional

from skerry.device.compression.graph import Graph, Node
from skerry.device.compression.graph_file import load_graph, save_graph
from skerry.device.compression.graph_module import GraphModule
from skerry.device.compression.onnx_export import to_onnx
from skerry.device.compression.quantize import quantize
from skerry.device.compression.trace import trace
from skerry.device.runtime import OnnxModel
from skerry.errors import InputError, SkerryError

SHAPE = (2, 5, 17)


class Mixed(nn.Module):
    """One of everything: uneven kernels and strides, squeeze-excite, hard activations, clamps, a hidden layer."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 8, (2, 5), stride=(1, 2), padding=(1, 2))
        self.depthwise = nn.Conv2d(8, 8, (1, 3), padding="same", groups=8, bias=False)
        self.point = nn.Conv2d(8, 8, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.act, self.gate, self.relu = nn.Hardswish(), nn.Hardsigmoid(), nn.ReLU()
        self.hidden, self.classifier = nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = self.act(self.stem(functional.pad(x, (0, 1, 0, 0))))
        y = functional.relu6(self.depthwise(x))
        y = y * self.gate(self.excite(self.relu(self.squeeze(self.pool(y)))))
        y = self.relu(x + self.point(y))
        return self.classifier(functional.hardswish(self.hidden(torch.flatten(self.pool(y), 1))))


@pytest.fixture(scope="module")
def mixed() -> nn.Module:
    torch.manual_seed(3)
    return Mixed().eval()


def batch(shape=SHAPE, n=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)


@torch.no_grad()
def outputs(module, x):
    return module(torch.from_numpy(x)).numpy()


def test_a_graph_module_computes_what_was_traced(mixed):
    graph = trace(mixed, SHAPE)
    assert {node.op for node in graph.nodes} == {"conv", "linear", "add", "mul", "pool", "hard_sigmoid", "hard_swish"}
    assert np.abs(outputs(GraphModule(graph), batch()) - outputs(mixed, batch())).max() < 1e-5


def test_a_graph_module_is_traced_to_the_same_function(mixed):
    again = trace(GraphModule(trace(mixed, SHAPE)).eval(), SHAPE)
    assert np.abs(outputs(GraphModule(again), batch()) - outputs(mixed, batch())).max() < 1e-5


def test_the_float_and_int8_exports_compute_the_same(mixed, tmp_path):
    graph, x = trace(mixed, SHAPE), batch(n=200)
    expected = outputs(mixed, x)
    onnx.save(to_onnx(graph), tmp_path / "float.onnx")
    assert np.abs(OnnxModel(tmp_path / "float.onnx").run(x) - expected).max() < 1e-5
    onnx.save(to_onnx(graph, quantize(graph, x)), tmp_path / "int8.onnx")
    rounded = OnnxModel(tmp_path / "int8.onnx").run(x)
    assert np.abs(rounded - expected).max() < 0.15 * np.ptp(expected)
    assert np.corrcoef(rounded.ravel(), expected.ravel())[0, 1] > 0.99


def test_shapes_macs_and_parameters_are_those_of_the_layers(mixed):
    graph = trace(mixed, SHAPE)
    seen = {}
    hooks = [
        module.register_forward_hook(lambda m, _, y, name=name: seen.update({name: m.weight.numel() * y[0, 0].numel()}))
        for name, module in mixed.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    outputs(mixed, batch(n=1))
    for hook in hooks:
        hook.remove()
    assert graph.macs_by_node() == seen
    assert graph.macs() == sum(seen.values())
    assert graph.parameters() == sum(p.numel() for p in mixed.parameters()) + 8  # the bias that depthwise has not
    assert graph.outputs == 3


def test_layers_train_and_come_back_as_a_graph(mixed):
    module = GraphModule(trace(mixed, SHAPE))
    assert isinstance(module.stem, nn.Conv2d)
    assert isinstance(module.classifier, nn.Linear)
    x, y = torch.from_numpy(batch(n=12)), torch.arange(12) % 3
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    before = functional.cross_entropy(module(x), y)
    before.backward()
    optimizer.step()
    assert functional.cross_entropy(module(x), y) < before
    assert all(p.grad is not None for p in module.parameters())
    graph = module.to_graph()
    assert np.abs(outputs(GraphModule(graph), batch()) - outputs(module, batch())).max() < 1e-6
    assert not np.allclose(graph.nodes[0].weight, module.graph.nodes[0].weight, atol=1e-7)


def test_layers_that_lost_channels_come_back_narrower(mixed):
    module = GraphModule(trace(mixed, SHAPE))
    module.hidden = nn.Linear(8, 4)
    with pytest.raises(InputError, match="6 inputs"):
        module.to_graph()
    module.classifier = nn.Linear(4, 3)
    assert module.to_graph().shapes["hidden"] == (4,)


def test_a_graph_survives_a_file(mixed, tmp_path):
    graph = replace(trace(mixed, SHAPE), classes=("sit", "walk", "gehen — läuft"))
    save_graph(graph, tmp_path / "mixed.graph")
    again = load_graph(tmp_path / "mixed.graph")
    assert_equal(graph, again)
    save_graph(again, tmp_path / "again.graph")
    assert (tmp_path / "again.graph").read_bytes() == (tmp_path / "mixed.graph").read_bytes()


def assert_equal(a: Graph, b: Graph) -> None:
    assert (a.input, a.input_shape, a.classes) == (b.input, b.input_shape, b.classes)
    assert len(a.nodes) == len(b.nodes)
    for one, other in zip(a.nodes, b.nodes, strict=True):
        assert replace(one, weight=None, bias=None).__dict__ == replace(other, weight=None, bias=None).__dict__
        for part in ("weight", "bias"):
            left, right = getattr(one, part), getattr(other, part)
            assert (left is None) == (right is None)
            assert left is None or np.array_equal(left, right)


@st.composite
def graphs(draw) -> Graph:
    """Random well-formed chains: any kernels, strides, pads, groups and clamps, ended by a pool and a linear layer."""
    channels, size = draw(st.integers(1, 3)), (draw(st.integers(1, 4)), draw(st.integers(1, 9)))
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    shape, last, nodes = (channels, *size), "x", []
    names = draw(st.lists(st.from_regex(r"\A[a-z][a-z0-9_]{0,6}\Z"), unique=True, min_size=1, max_size=5))
    for name in names:
        op = draw(st.sampled_from(["conv", "hard_swish", "hard_sigmoid", "add", "mul"]))
        node = Node(op, f"n_{name}", (last,) * (2 if op in {"add", "mul"} else 1))
        if op == "conv":
            groups = draw(st.sampled_from([1, shape[0]]))
            kernel = (draw(st.integers(1, shape[1])), draw(st.integers(1, shape[2])))
            outputs = groups * draw(st.integers(1, 2))
            node = replace(
                node,
                weight=generator.normal(size=(outputs, shape[0] // groups, *kernel)).astype(np.float32),
                bias=generator.normal(size=outputs).astype(np.float32),
                stride=(draw(st.integers(1, 3)), draw(st.integers(1, 3))),
                pads=tuple(draw(st.integers(0, 2)) for _ in range(4)),
                groups=groups,
                low=draw(st.sampled_from([-math.inf, 0.0, -0.5])),
                high=draw(st.sampled_from([math.inf, 6.0, 0.25])),
            )
        nodes.append(node)
        shape, last = node.output_shape(*([shape] * len(node.inputs))), node.name
    nodes += [
        Node("pool", "pool_", (last,)),
        Node(
            "linear",
            "classifier_",
            ("pool_",),
            generator.normal(size=(3, shape[0])).astype(np.float32),
            generator.normal(size=3).astype(np.float32),
        ),
    ]
    return Graph("x", (channels, *size), tuple(nodes), draw(st.sampled_from([(), ("a", "b", "c")])))


@settings(max_examples=60, deadline=None)
@given(graph=graphs())
def test_every_graph_survives_a_file_and_computes_the_same_in_torch_and_onnx(graph, tmp_path_factory):
    folder = tmp_path_factory.mktemp("graph")
    save_graph(graph, folder / "g")
    assert_equal(graph, load_graph(folder / "g"))
    onnx.save(to_onnx(graph), folder / "g.onnx")
    x = batch(graph.input_shape, n=2)
    ours, theirs = outputs(GraphModule(graph), x), OnnxModel(folder / "g.onnx").run(x)
    assert ours.shape == theirs.shape == (2, 3)
    assert np.allclose(ours, theirs, rtol=1e-4, atol=1e-4 * max(1.0, float(np.abs(ours).max())))


@pytest.fixture
def saved(mixed, tmp_path) -> Path:
    save_graph(trace(mixed, SHAPE), tmp_path / "g")
    return tmp_path / "g"


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused(saved, kept):
    data = saved.read_bytes()
    saved.write_bytes(data[: kept if isinstance(kept, int) else int(kept * len(data))])
    with pytest.raises(InputError) as caught:
        load_graph(saved)
    assert str(saved) in str(caught.value)
    assert caught.value.mend


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        load_graph(tmp_path / "none")


def rewrite(path: Path, change) -> None:
    with safe_open(path, framework="numpy") as file:
        structure = json.loads(file.metadata()["skerry.graph"])
    tensors = load_file(path)
    change(structure, tensors)
    save_file(tensors, path, {"skerry.graph": json.dumps(structure)})


def node(structure, name):
    return next(n for n in structure["nodes"] if n["name"] == name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s, _: node(s, "stem").update(op="softmax"), "op"),
        (lambda s, _: node(s, "stem").update(groups=3), "3 groups"),
        (lambda s, _: node(s, "stem").update(stride=[0, 1]), "stride"),
        (lambda s, _: node(s, "stem").update(pads=[0, 0, 0]), "pads"),
        (lambda s, _: node(s, "stem").update(inputs=["elsewhere"]), "elsewhere"),
        (lambda s, _: node(s, "stem").update(inputs=[]), "reads 1 tensors, not 0"),
        (lambda s, _: node(s, "stem").update(name="../stem"), "name"),
        (lambda s, _: node(s, "stem").update(code="import os"), "code"),
        (lambda s, _: node(s, "hidden").update(low=1.0, high=-1.0), "clamped"),
        (lambda s, _: node(s, "mul").update(low=0.0), "cannot be clamped"),
        (lambda s, _: s["nodes"].reverse(), "before it is computed"),
        (lambda s, _: s["nodes"].append(s["nodes"][0]), "missing"),
        (lambda s, _: s.update(nodes=[]), "without operations"),
        (lambda s, _: s.update(version=2), "version"),
        (lambda s, _: s.update(input_shape=[3, 5, 17]), "channels"),
        (lambda s, _: s.update(input_shape=[2, 5]), "input_shape"),
        (lambda s, _: s.update(classes=["one"]), "1 class names"),
        (lambda _, t: t.pop("stem.bias"), "stem.bias"),
        (lambda _, t: t.update({"stem.bias": np.zeros(7, np.float32)}), "do not fit"),
        (lambda _, t: t.update({"stem.weight": np.zeros((8, 2), np.float32)}), "do not fit"),
        (lambda _, t: t.update({"stem.bias": np.zeros(8, np.float64)}), "float64"),
        (lambda _, t: t.update({"stem.bias": np.full(8, np.nan, np.float32)}), "not finite"),
        (lambda _, t: t.update({"more": np.zeros(1, np.float32)}), "no operation reads"),
    ],
)
def test_a_malformed_graph_is_refused_in_words(saved, change, words):
    rewrite(saved, change)
    with pytest.raises(InputError, match="graph") as caught:
        load_graph(saved)
    assert words in str(caught.value)


def test_tensors_without_a_graph_are_refused(tmp_path):
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "t")
    with pytest.raises(InputError, match="no graph"):
        load_graph(tmp_path / "t")


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_a_changed_byte_gives_a_graph_or_an_error_of_ours(place, byte, tmp_path_factory):
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("graph") / "g"
    save_graph(trace(Mixed().eval(), SHAPE), path)
    data = bytearray(path.read_bytes())
    data[place % 3000 % len(data)] = byte  # the header and the first weights
    path.write_bytes(data)
    try:
        graph = load_graph(path)
    except SkerryError:
        return
    assert graph.shapes


def test_numbers_that_are_not_finite_are_not_saved(mixed, tmp_path):
    graph = trace(mixed, SHAPE)
    first = replace(graph.nodes[0], bias=np.full(8, np.inf, np.float32))
    with pytest.raises(InputError, match="not finite"):
        save_graph(replace(graph, nodes=(first, *graph.nodes[1:])), tmp_path / "g")
    assert not (tmp_path / "g").exists()


def test_a_name_that_a_module_has_itself_is_refused(mixed):
    graph = trace(mixed, SHAPE)
    first = replace(graph.nodes[0], name="forward")
    second = replace(graph.nodes[1], inputs=("forward",))
    with pytest.raises(InputError, match="name"):
        GraphModule(replace(graph, nodes=(first, second, *graph.nodes[2:])))
