"""Clipping by book-keeping on every network of the zoo in every mode: the gradients of vmap and of Opacus, to 1e-9."""

import warnings
from types import ModuleType
from typing import get_args

import pytest
import torch
from opacus.grad_sample import GradSampleModule
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from skerry.config import ModelConfig
from skerry.device.models import ARCHITECTURES
from skerry.device.training.dp.clipping import ClippingEngine
from skerry.device.training.dp.fake_quant import FAKE_QUANT_RULES
from skerry.device.training.flat import cross_entropies

MODES = get_args(ModelConfig.model_fields["trainable"].annotation)
EXAMPLES = 3
# Lite1 to Lite4 are Lite0 with more of the same layers; the width of the quick ones keeps the run short.
WIDTHS = {"ds_cnn": 1.0, "efficientnet_lite0": 0.25, "mobilenet_v2": 0.25, "mobilenet_v3_small": 0.5}
ZOO = [
    pytest.param(name, WIDTHS.get(name, 1.0), id=name, marks=[] if name in WIDTHS else [pytest.mark.slow])
    for name in ARCHITECTURES
] + [pytest.param(name, 1.0, id=f"{name}-whole", marks=pytest.mark.slow) for name in WIDTHS if name != "ds_cnn"]


def by_vmap(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    trained = {k: p.detach() for k, p in module.named_parameters() if p.requires_grad}
    frozen = {k: p.detach() for k, p in module.named_parameters() if not p.requires_grad}

    def loss(parameters: dict[str, Tensor], a: Tensor, b: Tensor) -> Tensor:
        return cross_entropies(functional_call(module, {**parameters, **frozen}, (a[None],)), b[None])[0]

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")  # rounding has no batched form there
        found = vmap(grad(loss), in_dims=(None, 0, 0))(trained, x, y)
    return torch.cat([found[k].flatten(1) for k in trained], 1)


def by_opacus(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    for layer in module.modules():  # in inference mode its hooks keep nothing; no layer here behaves differently
        layer.training = True
    wrapped = GradSampleModule(module, loss_reduction="sum")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Full backward hook is firing")
        cross_entropies(wrapped(x.requires_grad_()), y).sum().backward()
    return torch.cat([p.grad_sample.flatten(1) for p in module.parameters() if p.requires_grad], 1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("name", "width"), ZOO)
def test_rows_norms_and_sums_equal_those_of_vmap_and_opacus(name: str, width: float, mode: str, zoo: ModuleType):
    module, shape = zoo.zoo_mode(name, mode, width=width)
    module.double()
    x, y = zoo.draw(shape, EXAMPLES)
    x = x.double()
    engine = ClippingEngine(module, rules=FAKE_QUANT_RULES)
    rows = next(engine.rows(x, y, micro_batch=EXAMPLES))
    expected = by_vmap(module, x, y)
    lengths = expected.norm(dim=1)
    first = 0
    for parameter, size in engine.layout.tensors:  # no layer is silent: equality would say nothing about it
        last = first + torch.Size(size).numel()
        assert expected[:, first:last].any(), parameter
        first = last
    assert (rows - expected).abs().max() <= 1e-9 * float(lengths.max())
    clip = float(lengths.median())
    clipped = engine.clipped_sum(x, y, clip=clip)
    assert (clipped.norms - lengths).abs().max() <= 1e-9 * float(lengths.max())
    wanted = (expected * (clip / lengths).clamp(max=1)[:, None]).sum(0)
    assert (clipped.total - wanted).abs().max() <= 1e-9 * clip
    theirs = by_opacus(module, x, y)
    assert (rows - theirs).abs().max() <= 1e-9 * float(lengths.max())
