"""Features of the first blocks of a network, pooled over a grid: the same in all forms of a graph, or refused."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from skerry.config import ModelConfig
from skerry.device.basebuild import build_base
from skerry.device.compression.cuts import block_starts, features_of
from skerry.device.compression.graph import Graph, Node
from skerry.device.compression.graph_file import load_graph, save_graph
from skerry.device.compression.graph_module import GraphModule
from skerry.device.compression.onnx_export import to_onnx
from skerry.device.compression.onnx_import import from_onnx
from skerry.device.compression.quantize import quantize
from skerry.device.compression.trace import trace
from skerry.device.models import build_network
from skerry.device.models.folding import fold_norms
from skerry.device.runtime import OnnxModel
from skerry.errors import InputError, ScenarioError

SHAPE = (3, 32, 64)


class Gridded(nn.Module):
    """A convolution and the means over two by four fields of its map."""

    def __init__(self, grid: tuple[int, int] = (2, 4)) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(grid)

    def forward(self, x):
        return torch.flatten(self.pool(self.conv(x)), 1)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(40, *SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return fold_norms(build_network("efficientnet_lite0", inputs=SHAPE, classes=None).eval())


@pytest.fixture(scope="module")
def whole(network) -> Graph:
    return trace(network, SHAPE)


@torch.no_grad()
def test_a_grid_of_fields_is_the_same_in_torch_onnx_and_files(x, tmp_path):
    module = Gridded().eval()
    graph = trace(module, SHAPE)
    expected = module(torch.from_numpy(x)).numpy()
    assert graph.nodes[-1].grid == (2, 4)
    assert graph.outputs == expected.shape[1] == 64
    assert np.abs(GraphModule(graph)(torch.from_numpy(x)).numpy() - expected).max() < 1e-5
    onnx.save(to_onnx(graph), tmp_path / "grid.onnx")
    assert np.abs(OnnxModel(tmp_path / "grid.onnx").run(x) - expected).max() < 1e-5
    save_graph(graph, tmp_path / "grid.graph")
    back, _ = from_onnx(to_onnx(graph))
    for again in (load_graph(tmp_path / "grid.graph"), back):
        assert again.nodes[-1].__dict__ == graph.nodes[-1].__dict__


def test_fields_of_different_sizes_are_refused():
    with pytest.raises(InputError, match="no 5x3 equal fields"):
        trace(Gridded((5, 3)).eval(), SHAPE)
    pooled = Node("pool", "pooled", ("image",), grid=(0, 1))
    with pytest.raises(InputError, match="equal fields"):
        _ = Graph("image", SHAPE, (pooled,)).shapes


@torch.no_grad()
def test_the_first_blocks_give_what_the_network_has_there(network, whole, x):
    for blocks in (1, 11):
        found = GraphModule(features_of(whole, blocks, 2))(torch.from_numpy(x[:4])).numpy()
        there = network.stages[: blocks + 1](torch.from_numpy(x[:4]))
        middle = there.shape[-2] // 2, there.shape[-1] // 2
        corner = there[:, :, : middle[0], : middle[1]].mean((2, 3)).numpy()
        assert found.shape == (4, there.shape[1] * 4)
        assert np.abs(found[:, ::4] - corner).max() < 1e-4 * np.abs(corner).max()


@torch.no_grad()
def test_the_whole_network_keeps_what_follows_its_blocks(network, whole, x):
    found = GraphModule(features_of(whole))(torch.from_numpy(x[:4])).numpy()
    assert np.abs(found - network(torch.from_numpy(x[:4])).numpy()).max() < 1e-5
    assert features_of(whole).outputs == 1280


def test_a_window_has_one_row_of_fields():
    graph = trace(fold_norms(build_network("ds_cnn", inputs=(6, 1, 64), classes=None).eval()), (6, 1, 64))
    assert features_of(graph, 2, 4).nodes[-1].grid == (1, 4)


def test_what_a_network_has_not_is_refused_with_what_it_has(whole):
    count = len(block_starts(whole))
    with pytest.raises(ScenarioError, match=f"{count} blocks") as caught:
        features_of(whole, count)
    assert f"between 1 and {count - 1}" in caught.value.mend
    with pytest.raises(ScenarioError, match="2x4 cannot be divided into 3x3") as caught:
        features_of(whole, 11, 3)
    assert caught.value.where == "model.grid"


def test_int8_of_first_blocks_is_small_and_near(whole, x, tmp_path):
    graph = features_of(whole, 11, 1)
    sizes = {}
    for name, quantization in (("float", None), ("int8", quantize(graph, x))):
        onnx.save(to_onnx(graph, quantization), tmp_path / name)
        sizes[name] = (tmp_path / name).stat().st_size
    assert sizes["int8"] <= 0.30 * sizes["float"]
    exact, rounded = (OnnxModel(tmp_path / name).run(x[:8]) for name in ("float", "int8"))
    assert np.corrcoef(exact.ravel(), rounded.ravel())[0, 1] > 0.98


def test_blocks_and_grid_name_another_base(digits, monkeypatch, tmp_path):
    from skerry.device import basebuild

    built = []
    monkeypatch.setattr(basebuild, "_build", lambda facts, *_: built.append(facts) or pytest.fail("built"))
    for change in ({}, {"blocks": 3}, {"grid": 2}):
        with pytest.raises(pytest.fail.Exception):
            build_base(ModelConfig(**change), digits, store=tmp_path)
    assert [(facts["blocks"], facts["grid"]) for facts in built] == [(0, 1), (3, 1), (0, 2)]


def test_an_average_over_fields_that_skerry_does_not_write_is_refused():
    model = to_onnx(trace(Gridded().eval(), SHAPE))
    pool = next(node for node in model.graph.node if node.op_type == "AveragePool")
    pool.attribute.append(onnx.helper.make_attribute("pads", [1, 1, 1, 1]))
    with pytest.raises(InputError, match="AveragePool"):
        from_onnx(model)
    graph = trace(Gridded().eval(), SHAPE)
    other = replace(graph, input_shape=(3, 32, 32))
    assert other.outputs == graph.outputs  # a grid is of the map, whatever its size
