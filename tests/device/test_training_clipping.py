"""Per-example clipping: what is summed is what vmap and Opacus say, within the bound, or it is refused."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.grad_sample import GradSampleModule
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from skerry.device.training.dp import opacus as depthwise
from skerry.device.training.dp.clipping import ClippingEngine
from skerry.device.training.dp.convolutions import per_example_weight_gradient
from skerry.device.training.dp.rules import RULES, Kept, Part
from skerry.device.training.flat import cross_entropies
from skerry.errors import InputError


class Mobile(nn.Module):
    """An inverted residual of every kind of layer that mobile networks have."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.norm = nn.GroupNorm(2, 8)
        self.expand = nn.Conv2d(8, 24, 1, bias=False)
        self.depthwise = nn.Conv2d(24, 24, 3, 1, 1, groups=24)
        self.grouped = nn.Conv2d(24, 24, (3, 1), padding="same", groups=4)
        self.project = nn.Conv2d(24, 8, 1)
        self.circular = nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular", dilation=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu6(self.norm(self.stem(x)))
        y = functional.hardswish(self.depthwise(functional.relu6(self.expand(x))))
        x = x + self.project(self.grouped(y))
        return self.head(self.circular(x).mean((2, 3)))


class Windows(nn.Module):
    """Sequences: a strided Conv1d, layer norm over positions and linear layers at every position."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 6, padding_idx=0)
        self.conv = nn.Conv1d(6, 8, 3, stride=2)
        self.depthwise = nn.Conv1d(8, 8, 3, padding=2, dilation=2, groups=8)
        self.norm = nn.LayerNorm(8)
        self.wide = nn.Linear(8, 64)
        self.narrow = nn.Linear(64, 64)
        self.head = nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(self.conv(self.words(x).mT)).mT
        return self.head(torch.tanh(self.narrow(torch.tanh(self.wide(self.norm(y))))).mean(1))


def make(kind: str, examples: int = 7) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(3)
    y = torch.randint(0, 5, (examples,))
    if kind == "mobile":
        return Mobile().double(), torch.randn(examples, 3, 9, 9, dtype=torch.float64), y
    return Windows().double(), torch.randint(0, 11, (examples, 12)), y


def reference(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """``(n, d)`` gradients by vmap: another way, and none of our rules."""
    trained = {k: p.detach() for k, p in model.named_parameters() if p.requires_grad}
    fixed = {k: p.detach() for k, p in model.named_parameters() if not p.requires_grad}

    def loss(parameters: dict[str, Tensor], a: Tensor, b: Tensor) -> Tensor:
        return cross_entropies(functional_call(model, {**parameters, **fixed}, (a[None],)), b[None])[0]

    found = vmap(grad(loss), in_dims=(None, 0, 0))(trained, x, y)
    return torch.cat([found[k].flatten(1) for k in trained], 1)


def select(model: nn.Module, part: str) -> None:
    for name, parameter in model.named_parameters():
        wanted = {"all": True, "head": name.startswith("head"), "bias": parameter.ndim == 1 or name.startswith("head")}
        parameter.requires_grad_(wanted[part])


@pytest.mark.parametrize("part", ["all", "bias", "head"])
@pytest.mark.parametrize("kind", ["mobile", "windows"])
@pytest.mark.parametrize("micro_batch", [None, 1, 3])
def test_rows_and_sums_equal_vmap(kind: str, part: str, micro_batch: int | None):
    model, x, y = make(kind)
    select(model, part)
    expected = reference(model, x, y)
    engine = ClippingEngine(model)
    assert torch.allclose(torch.cat(list(engine.rows(x, y, micro_batch=micro_batch or 7))), expected, atol=1e-12)
    norms = expected.norm(dim=1)
    clip = float(norms.median())
    clipped = engine.clipped_sum(x, y, clip=clip, micro_batch=micro_batch)
    assert torch.allclose(clipped.norms, norms, atol=1e-11)
    assert torch.allclose(clipped.total, (expected * (clip / norms).clamp(max=1)[:, None]).sum(0), atol=1e-11)
    assert clipped.total.norm() <= len(x) * clip


def test_rows_equal_opacus():
    model, x, y = make("mobile")
    model.circular = nn.Identity()  # Opacus has no rule for padding that is not zeros
    expected = next(ClippingEngine(model).rows(x, y, micro_batch=7))
    wrapped = GradSampleModule(model, loss_reduction="sum")
    cross_entropies(wrapped(x), y).sum().backward()
    theirs = torch.cat([p.grad_sample.flatten(1) for p in model.parameters()], 1)
    assert torch.allclose(expected, theirs, atol=1e-12)


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (nn.Conv2d(1, 6, 3, padding=1), (8, 6)),
        (nn.Conv2d(3, 8, (3, 2), stride=(2, 1), dilation=(1, 2)), (9, 6)),
        (nn.Conv2d(3, 8, 3, padding="same"), (6, 6)),
        (nn.Conv2d(2, 8, (3, 5), stride=2, padding=(1, 2), padding_mode="reflect"), (8, 8)),
        (nn.Conv2d(3, 8, 3, padding=1), (5, 5)),
        (nn.Conv2d(4, 2, 7), (9, 8)),
        (nn.Conv1d(4, 8, 3, stride=2, padding=1, padding_mode="circular"), (8,)),
    ],
    ids=str,
)
def test_a_convolution_of_few_channels_has_autograds_gradients(layer: nn.Conv1d | nn.Conv2d, size: tuple[int, ...]):
    torch.manual_seed(0)
    layer.double()
    x = torch.randn(5, layer.in_channels, *size, dtype=torch.float64)
    outputs = layer(x)
    g = torch.randn_like(outputs)
    found = per_example_weight_gradient(layer, x, g)
    for i in range(len(x)):
        (expected,) = torch.autograd.grad(outputs[i], layer.weight, g[i], retain_graph=True)
        assert torch.allclose(found[i], expected, atol=1e-12)


@pytest.mark.parametrize("size", [8, 9, 14, 17])
@pytest.mark.parametrize("channels", [(1, 6), (1, 8), (3, 16)])
def test_a_convolutions_gradient_has_the_same_bits_in_every_place_of_a_batch(size: int, channels: tuple[int, int]):
    torch.manual_seed(0)
    layer = nn.Conv2d(*channels, 3, padding=1)
    x = torch.randn(1, channels[0], size, size).repeat(16, 1, 1, 1)
    g = torch.randn(1, channels[1], size, size).repeat(16, 1, 1, 1)
    found = per_example_weight_gradient(layer, x, g)
    assert all(torch.equal(found[slot], found[0]) for slot in range(16))


def test_opacus_gives_the_same_with_our_rule():
    model, x, y = make("mobile")
    expected = reference(model, x, y)
    stock = dict(GradSampleModule.GRAD_SAMPLERS)
    try:
        depthwise.register()
        assert GradSampleModule.GRAD_SAMPLERS[nn.Conv2d] is not stock[nn.Conv2d]
        wrapped = GradSampleModule(model, loss_reduction="sum")
        cross_entropies(wrapped(x), y).sum().backward()
    finally:
        GradSampleModule.GRAD_SAMPLERS.clear()
        GradSampleModule.GRAD_SAMPLERS.update(stock)
    assert torch.allclose(torch.cat([p.grad_sample.flatten(1) for p in model.parameters()], 1), expected, atol=1e-12)


def test_per_layer_clipping_bounds_each_layer_and_the_whole():
    model, x, y = make("mobile", examples=1)
    engine = ClippingEngine(model)
    clip = 0.01
    total = engine.clipped_sum(x, y, clip=clip, clipping="per_layer").total
    layers: dict[str, float] = {}
    for name, part in engine.layout.split(total.numpy().astype(np.float32)).items():
        owner = name.rpartition(".")[0]
        layers[owner] = layers.get(owner, 0.0) + float((part**2).sum())
    bound = clip / math.sqrt(len(layers))
    assert all(math.sqrt(v) == pytest.approx(bound, rel=1e-5) for v in layers.values())
    assert float(total.norm()) <= clip * (1 + 1e-9)


@pytest.mark.parametrize("micro_batch", [None, 3])
@pytest.mark.parametrize("kind", ["mobile", "windows"])
def test_per_layer_clipping_is_that_of_each_layers_rows_of_vmap(kind: str, micro_batch: int | None):
    model, x, y = make(kind)
    engine, expected = ClippingEngine(model), reference(model, x, y)
    sizes = [math.prod(shape) for _, shape in engine.layout.tensors]
    owners = [name.rpartition(".")[0] for name, _ in engine.layout.tensors]
    parts = list(zip(owners, expected.split(sizes, 1), strict=True))
    squares = {owner: sum(part.square().sum(1) for o, part in parts if o == owner) for owner in owners}
    clip = 0.5 * float(expected.norm(dim=1).median())
    factors = {o: (clip / math.sqrt(len(squares)) / v.sqrt()).clamp(max=1) for o, v in squares.items()}
    assert any((f < 1).any() for f in factors.values())
    assert any((f == 1).any() for f in factors.values())
    wanted = torch.cat([(part * factors[owner][:, None]).sum(0) for owner, part in parts])
    clipped = engine.clipped_sum(x, y, clip=clip, clipping="per_layer", micro_batch=micro_batch)
    assert torch.allclose(clipped.total, wanted, atol=1e-12)
    assert torch.allclose(clipped.norms, expected.norm(dim=1), atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(left_out=st.integers(0, 6), scale=st.floats(1e-3, 1e3), kind=st.sampled_from(["mobile", "windows"]))
def test_one_example_moves_the_sum_by_at_most_the_clip(left_out: int, scale: float, kind: str):
    model, x, y = make(kind)
    if kind == "mobile":
        x = x.clone()
        x[left_out] *= scale
    keep = torch.arange(7) != left_out
    engine = ClippingEngine(model)
    whole, without = (engine.clipped_sum(a, b, clip=0.1).total for a, b in ((x, y), (x[keep], y[keep])))
    assert float((whole - without).norm()) <= 0.1 * (1 + 1e-9)


def test_an_example_that_is_not_finite_weighs_nothing():
    model, x, y = make("mobile")
    engine = ClippingEngine(model)
    expected = engine.clipped_sum(x[1:], y[1:], clip=0.1)
    x[0] = torch.nan
    clipped = engine.clipped_sum(x, y, clip=0.1)
    assert clipped.left_out == 1
    assert torch.allclose(clipped.total, expected.total, atol=1e-12)


def test_no_examples_add_up_to_zero():
    model, x, y = make("mobile")
    clipped = ClippingEngine(model).clipped_sum(x[:0], y[:0], clip=1.0)
    assert not clipped.total.any()
    assert len(clipped.norms) == 0


def test_a_layer_that_runs_twice_is_clipped_as_one():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(6, 6)
            self.head = nn.Linear(6, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.tanh(self.inner(torch.tanh(self.inner(x)))))

    torch.manual_seed(0)
    model, x, y = Twice().double(), torch.randn(7, 6, dtype=torch.float64), torch.randint(0, 5, (7,))
    expected = reference(model, x, y)
    clipped = ClippingEngine(model).clipped_sum(x, y, clip=1e9)
    assert torch.allclose(clipped.norms, expected.norm(dim=1), atol=1e-12)
    assert torch.allclose(clipped.total, expected.sum(0), atol=1e-12)


class Tied(nn.Module):
    """Uses its first layer's weight behind the layer's back as well."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(functional.linear(self.inner(x), self.inner.weight))


class Behind(nn.Module):
    """Never calls its layer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.head.weight, self.head.bias)


class Inplace(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(6, 6), nn.ReLU(inplace=True), nn.Linear(6, 5))


@pytest.mark.parametrize(
    ("model", "where", "what"),
    [
        (Tied(), "inner.weight", "used elsewhere too"),
        (Behind(), "head.weight", "not used through its layer"),
        (Inplace(), "0", "in place"),
    ],
)
def test_a_model_whose_gradients_would_be_wrong_is_refused(model: nn.Module, where: str, what: str):
    torch.manual_seed(0)
    engine = ClippingEngine(model)
    with pytest.raises(InputError, match=what) as caught:
        engine.clipped_sum(torch.randn(4, 6), torch.randint(0, 5, (4,)), clip=1.0)
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("layer", "word"), [(nn.BatchNorm1d(6), "mixes the examples"), (nn.Bilinear(6, 6, 6), "Bilinear")]
)
def test_a_layer_without_a_rule_is_named(layer: nn.Module, word: str):
    with pytest.raises(InputError) as caught:
        ClippingEngine(nn.Sequential(nn.Linear(6, 6), layer))
    assert caught.value.where == "1"
    assert word in f"{caught.value.what} {caught.value.mend}"


def test_a_frozen_batch_norm_still_may_not_mix():
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6).requires_grad_(requires_grad=False), nn.Linear(6, 5))
    with pytest.raises(InputError, match="mixes the examples"):
        ClippingEngine(model)
    model[1].eval()
    ClippingEngine(model)


def test_a_rule_for_a_class_of_ones_own():
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones(6, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.factor

    torch.manual_seed(0)
    model = nn.Sequential(Scale(), nn.Linear(6, 5, dtype=torch.float64))
    x, y = torch.randn(7, 6, dtype=torch.float64), torch.randint(0, 5, (7,))
    engine = ClippingEngine(model, rules={Scale: lambda layer, a, g: [Kept(layer.factor, a * g)]})
    assert torch.allclose(torch.cat(list(engine.rows(x, y))), reference(model, x, y), atol=1e-12)
    wrong = ClippingEngine(model, rules={Scale: lambda layer, a, g: [Kept(layer.factor, 2 * a * g)]})
    with pytest.raises(InputError, match="would not be its gradients"):
        wrong.clipped_sum(x, y, clip=1.0)


def test_without_a_word_a_batch_is_worked_on_in_parts_and_adds_up_to_the_same():
    model, x, y = make("mobile", examples=40)
    expected = reference(model, x, y)
    norms = expected.norm(dim=1)
    clip = float(norms.median())
    seen: list[int] = []
    model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    clipped = ClippingEngine(model).clipped_sum(x, y, clip=clip)
    assert seen[0] <= 16  # nothing is known yet of how much an example takes
    assert sum(seen) == 40
    assert torch.allclose(clipped.total, (expected * (clip / norms).clamp(max=1)[:, None]).sum(0), atol=1e-11)
    assert torch.allclose(clipped.norms, norms, atol=1e-11)


def test_a_layer_whose_output_is_not_used_has_a_gradient_of_zero():
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.idle = nn.Linear(6, 6)
            self.head = nn.Linear(6, 5)

        def forward(self, x: Tensor) -> Tensor:
            self.idle(x)
            return self.head(x)

    torch.manual_seed(0)
    model, x, y = Unused().double(), torch.randn(7, 6, dtype=torch.float64), torch.randint(0, 5, (7,))
    rows = next(ClippingEngine(model).rows(x, y, micro_batch=7))
    assert torch.allclose(rows, reference(model, x, y), atol=1e-12)
    assert not rows[:, : 6 * 6 + 6].any()


def test_a_layers_gradient_is_used_before_the_next_one_is_made():
    """Which is what keeps the memory of a step near that of a plain one."""
    events: list[str] = []

    class Mine(nn.Linear):
        pass

    class Watching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x * 1.0
            y.register_hook(lambda _: events.append("made"))
            return y

    def rule(layer: Mine, a: Tensor, g: Tensor) -> list[Part]:
        events.append("used")
        return RULES[nn.Linear](layer, a, g)

    model = nn.Sequential(*(part for _ in range(5) for part in (Mine(8, 8), Watching())))
    ClippingEngine(model, rules={Mine: rule}).clipped_sum(torch.randn(7, 8), torch.randint(0, 8, (7,)), clip=1.0)
    assert events[:10] == ["made", "used"] * 5


@pytest.mark.parametrize("clip", [0.0, -1.0, math.nan, math.inf])
def test_a_clip_bound_is_positive(clip: float):
    model, x, y = make("mobile")
    with pytest.raises(InputError, match="clip bound"):
        ClippingEngine(model).clipped_sum(x, y, clip=clip)


def test_micro_batches_follow_the_budget():
    model, x, y = make("mobile")
    engine = ClippingEngine(model)
    sizes = [engine.micro_batch_for(x, y, budget) for budget in (1, 200_000, 2_000_000)]
    assert sizes[0] == 1
    assert sizes[0] < sizes[1] < sizes[2]
    assert engine.micro_batch_for(x, y, 2_000_000, rows=True) < sizes[2]
