"""Pruning removes whole channels, the unimportant ones, and norms come back and go without a trace."""

import numpy as np
import pytest
import torch
from torch import nn

from skerry.device.compression.graph import Graph
from skerry.device.compression.graph_module import GraphModule
from skerry.device.compression.norms import fold_graph, with_norms
from skerry.device.compression.prune import prune
from skerry.device.compression.trace import trace
from skerry.device.models import build_network
from skerry.device.training.central import predict, train_centrally
from skerry.errors import InputError

ZOO = {
    "mobilenet_v2": (1, 32, 32),
    "mobilenet_v3_small": (3, 32, 32),
    "ds_cnn": (6, 1, 64),
}


@pytest.fixture(scope="module")
def zoo() -> dict[str, Graph]:
    made = {}
    for name, inputs in ZOO.items():
        width = 0.5 if name.startswith("mobile") else 1.0
        made[name] = trace(build_network(name, inputs=inputs, classes=5, width=width).eval(), inputs)
    return made


def noise(graph: Graph, n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, *graph.input_shape)).astype(np.float32)


@pytest.mark.parametrize("name", ZOO)
def test_half_the_work_goes_and_the_rest_is_an_ordinary_graph(zoo: dict[str, Graph], name: str):
    graph = zoo[name]
    pruned = prune(graph, keep_macs=0.5)
    small = pruned.graph
    assert 0.4 < small.macs() / graph.macs() == pruned.macs <= 0.5
    assert small.parameters() / graph.parameters() == pruned.parameters < 1
    assert (small.outputs, small.input_shape) == (graph.outputs, graph.input_shape)
    assert [(n.op, n.name, n.inputs) for n in small.nodes] == [(n.op, n.name, n.inputs) for n in graph.nodes]
    assert np.isfinite(predict(GraphModule(small), noise(graph, 2))).all()
    for before, after in zip(graph.nodes, small.nodes, strict=True):
        if before.op == "conv":
            assert len(after.weight) % 8 == 0 or len(after.weight) == len(before.weight)
            assert (after.groups == len(after.weight)) == (before.groups == len(before.weight))


def test_it_is_a_function_of_its_arguments(zoo: dict[str, Graph]):
    one, two = (prune(zoo["ds_cnn"], keep_macs=0.6).graph for _ in range(2))
    assert all(np.array_equal(a.weight, b.weight) for a, b in zip(one.nodes, two.nodes, strict=True) if a.op == "conv")


class Residual(nn.Module):
    """A stem, one inverted residual, a classifier; ``dead`` channels say nothing anywhere."""

    def __init__(self, dead: list[int], dead_hidden: list[int]) -> None:
        super().__init__()
        self.stem, self.expand = nn.Conv2d(1, 16, 3, 2, 1), nn.Conv2d(16, 32, 1)
        self.depthwise, self.project = nn.Conv2d(32, 32, 3, 1, 1, groups=32), nn.Conv2d(32, 16, 1)
        self.classifier = nn.Linear(16, 3)
        with torch.no_grad():
            for layer, channels in (
                (self.stem, dead), (self.project, dead), (self.expand, dead_hidden), (self.depthwise, dead_hidden),
            ):  # fmt: skip
                layer.weight[channels] = 0
                layer.bias[channels] = 0
            self.classifier.weight[:, dead] = 0
            self.expand.weight[:, dead] = 0
            self.project.weight[:, dead_hidden] = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.relu6(self.stem(x))
        y = self.project(nn.functional.relu6(self.depthwise(nn.functional.relu6(self.expand(x)))))
        return self.classifier(torch.mean(x + y, (2, 3)))


def test_what_says_nothing_leaves_first_and_is_not_missed():
    torch.manual_seed(0)
    dead, hidden = [0, 3, 4, 7, 9, 11, 13, 15], [*range(2, 18)]
    graph = trace(Residual(dead, hidden).eval(), (1, 16, 16))
    small = prune(graph, keep_macs=0.45).graph
    assert [len(n.weight) for n in small.nodes if n.weight is not None] == [8, 16, 16, 8, 3]
    x = noise(graph, 8)
    whole = predict(GraphModule(graph), x)
    assert np.abs(whole).max() > 0.1
    assert np.abs(predict(GraphModule(small), x) - whole).max() < 1e-5


def test_features_without_a_classifier_keep_their_length(zoo: dict[str, Graph]):
    features = trace(build_network("ds_cnn", inputs=(6, 1, 64), classes=None).eval(), (6, 1, 64))
    assert prune(features, keep_macs=0.5).graph.outputs == features.outputs


def test_what_cannot_be_reached_says_what_can(zoo: dict[str, Graph]):
    with pytest.raises(InputError, match=r"([\d.]+)% is the least") as caught:
        prune(zoo["ds_cnn"], keep_macs=0.02, round_to=16)
    least = float(caught.value.what.split("% is the least")[0].split()[-1]) / 100
    assert prune(zoo["ds_cnn"], keep_macs=least + 0.002, round_to=16).macs == pytest.approx(least, abs=0.001)
    assert "round_to" in caught.value.mend
    with pytest.raises(InputError, match="between 0 and 1"):
        prune(zoo["ds_cnn"], keep_macs=1.5)


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small"])
def test_norms_come_back_without_changing_the_function_and_go_again(zoo: dict[str, Graph], name: str):
    module = GraphModule(zoo[name])
    torch.manual_seed(0)
    for layer in module.children():
        nn.init.normal_(layer.bias, std=0.1)
    graph = module.to_graph()
    x = noise(graph, 64)
    plain = predict(GraphModule(graph), x)
    normed = with_norms(graph, x)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in normed.modules()) == sum(n.op == "conv" for n in graph.nodes)
    size = np.abs(plain).max()
    assert np.abs(predict(normed, x) - plain).max() < 1e-4 * size
    assert np.abs(predict(GraphModule(fold_graph(normed)), x) - plain).max() < 1e-4 * size
    with torch.no_grad():  # a batch of the same examples has the same statistics
        trained = normed.train()(torch.from_numpy(x)).numpy()
    assert np.abs(trained - plain).max() < 1e-3 * size
    with pytest.raises(InputError, match="two examples"):
        with_norms(graph, x[:1])


def test_what_is_trained_with_norms_is_what_the_folded_graph_computes(zoo: dict[str, Graph]):
    graph = zoo["ds_cnn"]
    x = noise(graph, 60)
    y = (x[:, 0].mean((1, 2)) > 0).astype(np.int64)
    normed = with_norms(graph, x)
    train_centrally(normed, x, y, epochs=2, batch_size=20, learning_rate=0.05)
    folded = GraphModule(fold_graph(normed))
    reached = predict(normed, x)
    assert np.abs(predict(folded, x) - reached).max() < 1e-4 * np.abs(reached).max()
    assert np.abs(predict(GraphModule(graph), x) - reached).max() > 1e-2 * np.abs(reached).max()
