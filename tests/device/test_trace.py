"""A network is traced as it is, or refused by the name of the layer that has no rule and with what to use instead."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from skerry.device.compression.graph_module import GraphModule
from skerry.device.compression.trace import trace
from skerry.errors import InputError

SHAPE = (3, 12, 12)


class Ends(nn.Module):
    """A layer between a convolution and a classifier."""

    def __init__(self, middle):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.middle = middle
        self.classifier = nn.Linear(4, 2)

    def forward(self, x):
        return self.classifier(self.middle(self.first(x)).mean((2, 3)))


class Function(nn.Module):
    """A function as a layer that is traced through."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("layer", "name", "hint"),
    [
        (nn.MaxPool2d(2), "MaxPool2d", "stride 2"),
        (nn.GroupNorm(2, 4), "GroupNorm", "BatchNorm2d"),
        (nn.SiLU(), "SiLU", "Hardswish"),
        (nn.Sigmoid(), "Sigmoid", "Hardsigmoid"),
        (nn.GELU(), "GELU", "Hardswish"),
        (nn.PReLU(), "PReLU", "ReLU6"),
        (nn.ConvTranspose2d(4, 4, 3), "ConvTranspose2d", "Conv2d"),
        (nn.Upsample(scale_factor=2), "Upsample", "keep this layer out"),
        (nn.AdaptiveAvgPool2d((None, 2)), "depends on the input", "AdaptiveAvgPool2d"),
        (nn.Flatten(), "flattened", "pool"),
    ],
)
def test_a_layer_without_a_rule_is_named_with_what_to_use(layer, name, hint):
    with pytest.raises(InputError) as caught:
        trace(Ends(layer).eval(), SHAPE)
    assert name in caught.value.what
    assert caught.value.where == "middle"
    assert hint in caught.value.mend


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (torch.sigmoid, "sigmoid"),
        (lambda x: x.transpose(2, 3), "transpose"),
        (lambda x: functional.relu(x) + x, "only reader"),
        (lambda x: functional.relu(functional.relu(x)), "must follow its convolution"),
        (lambda x: x + 1.0, "not a tensor of the network"),
        (lambda x: functional.pad(x, (1, 1, 1, 1), value=1.0), "zero padding"),
        (lambda x: functional.pad(x, (1, 1, 1, 1)) + x, "padding must be read by a convolution"),
        (lambda x: torch.clamp(x, max=x.mean()), "mean over height"),
        (lambda x: x if x.sum() > 0 else -x, "cannot be traced"),
    ],
)
def test_an_operation_without_a_rule_is_named(function, words):
    with pytest.raises(InputError, match=words) as caught:
        trace(Ends(Function(function)).eval(), SHAPE)
    assert caught.value.where


@pytest.mark.parametrize(
    ("convolution", "words"),
    [
        (nn.Conv2d(4, 4, 3, dilation=2), "dilated"),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "zeros"),
    ],
)
def test_an_unusual_convolution_is_refused(convolution, words):
    with pytest.raises(InputError, match=words) as caught:
        trace(Ends(convolution).eval(), SHAPE)
    assert caught.value.mend


def test_a_norm_without_its_convolution_or_in_training_is_refused():
    with pytest.raises(InputError, match="right after a convolution"):
        trace(Ends(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4))).eval(), SHAPE)
    with pytest.raises(InputError, match="right after a convolution"):
        trace(Ends(nn.BatchNorm2d(4, track_running_stats=False)).eval(), SHAPE)
    with pytest.raises(InputError) as caught:
        trace(Ends(nn.BatchNorm2d(4)), SHAPE)
    assert "eval()" in caught.value.mend


def test_an_input_that_does_not_fit_is_refused():
    network = Ends(nn.Conv2d(4, 4, 5)).eval()
    with pytest.raises(InputError, match="4x10 is too small for a 5x5"):
        trace(network, (3, 6, 12))
    with pytest.raises(InputError, match="reads 1 channels"):
        trace(network, (1, 12, 12))
    with pytest.raises(InputError, match="no operation"):
        trace(nn.Identity(), SHAPE)


def test_an_output_that_is_not_the_last_operation_is_refused():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)

        def forward(self, x):
            y = self.a(x).mean((2, 3))
            self.b(x)
            return y

    with pytest.raises(InputError, match="last operation"):
        trace(Branch().eval(), SHAPE)


def test_an_activation_of_a_layer_with_another_reader_is_refused_through_dropout_too():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.relu = nn.Dropout(), nn.ReLU()

        def forward(self, x):
            return self.relu(self.drop(x)) + x

    with pytest.raises(InputError, match="only reader"):
        trace(Ends(Both()).eval(), SHAPE)


@torch.no_grad()
def test_a_network_of_one_s_own_is_traced_with_its_norms():
    """Plain layers in a row, two of one name, with norms that have learnt statistics."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.ZeroPad2d((0, 1, 0, 1)),
        nn.Conv2d(8, 8, 4, groups=4),
        nn.BatchNorm2d(8, affine=False),
        nn.Hardswish(),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
        nn.Hardtanh(-0.2, 0.3),
    )
    x = torch.from_numpy(np.random.default_rng(0).normal(2.0, 3.0, size=(16, *SHAPE)).astype(np.float32))
    network.train()(x)
    expected = network.eval()(x)
    graph = trace(network, SHAPE)
    assert [node.op for node in graph.nodes] == ["conv", "conv", "hard_swish", "pool", "linear"]
    assert (graph.nodes[-1].low, graph.nodes[-1].high) == (-0.2, 0.3)
    assert float((GraphModule(graph)(x) - expected).abs().max()) < 1e-5
    assert float(expected.std()) > 0.01


@torch.no_grad()
def test_a_layer_that_is_used_twice_is_two_operations():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return self.conv(self.conv(x)).mean((2, 3))

    torch.manual_seed(0)
    network = Twice().eval()
    graph = trace(network, SHAPE)
    assert [node.name for node in graph.nodes] == ["conv", "conv_2", "mean"]
    x = torch.randn(2, *SHAPE)
    assert float((GraphModule(graph)(x) - network(x)).abs().max()) < 1e-6
