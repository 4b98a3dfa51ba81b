"""The steps by which a network becomes int8: what each is for, and what is refused before any of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from onnx import TensorProto

from skerry.device.compression.fake_quant import FakeQuantGraphModule
from skerry.device.compression.graph import Graph, Node
from skerry.device.compression.graph_module import GraphModule, apply_node
from skerry.device.compression.int8_rounding import PAIR_LIMIT, round_compensated, round_nearest
from skerry.device.compression.moments import from_rows, measure_moments, to_rows
from skerry.device.compression.onnx_export import to_onnx
from skerry.device.compression.onnx_import import from_onnx
from skerry.device.compression.quantize import QuantizationRecipe, quantize
from skerry.device.compression.refit import refit
from skerry.device.export.reference import QuantizedReference, in_batches
from skerry.device.runtime import OnnxModel
from skerry.errors import InputError

RNG = np.random.default_rng


def conv(outputs, inputs, kernel=(1, 1), *, groups=1, seed=0, **more) -> Node:
    shape = (outputs, inputs // groups, *kernel)
    weight = RNG(seed).normal(size=shape).astype(np.float32)
    return Node("conv", "t00", ("image",), weight, np.zeros(outputs, np.float32), groups=groups, **more)


def correlated(n, channels, size=9, *, seed=0):
    """``(n, channels, size, size)``: a few smooth sources mixed into all channels, as a layer's activations are."""
    mix = RNG(7).normal(size=(channels, 3))
    sources = np.kron(RNG(seed).normal(size=(n, 3, size // 3, size // 3)), np.ones((3, 3)))
    noise = 0.05 * RNG(seed + 1).normal(size=(n, channels, size, size))
    return torch.from_numpy((np.einsum("cs,nshw->nchw", mix, sources) + noise).astype(np.float32))


def small_network(size=6) -> Graph:
    nodes = (
        replace(conv(8, 3, (3, 3), pads=(1, 1, 1, 1)), low=0.0, high=6.0),
        replace(conv(8, 8, (3, 3), groups=8, pads=(1, 1, 1, 1)), name="t01", inputs=("t00",), low=0.0, high=6.0),
        replace(conv(8, 8), name="t02", inputs=("t01",)),
        Node("add", "t03", ("t00", "t02")),
        Node("pool", "t04", ("t03",)),
    )
    return Graph("image", (3, size, size), nodes)


@pytest.mark.parametrize(
    "node",
    [
        conv(6, 4),
        conv(6, 4, (3, 3), pads=(0, 1, 2, 1), stride=(2, 1)),
        conv(6, 6, (3, 5), groups=6, pads=(1, 2, 1, 2)),
        conv(8, 4, (3, 1), groups=2),
    ],
    ids=["pointwise", "strided", "depthwise", "grouped"],
)
def test_moments_are_those_of_the_convolution(node):
    """Mean and variance of its outputs follow from them, and so does its covariance with what is wanted."""
    x = torch.from_numpy(
        RNG(1).normal(1.0, 1.0, size=(40, node.weight.shape[1] * node.groups, 7, 8)).astype(np.float32)
    )
    given = apply_node(node, [x])
    found = measure_moments(node, x, given)
    rows = to_rows(node.weight, node.groups)
    assert np.array_equal(from_rows(rows, node.weight.shape).astype(np.float32), node.weight)
    outputs = given.double().transpose(0, 1).reshape(len(node.weight), -1).numpy()
    mean = np.einsum("gof,gf->go", rows, found.x) / found.count
    variance = np.einsum("gof,gfk,gok->go", rows, found.covariance(), rows)
    crossed = np.einsum("gof,gfo->go", rows, found.cross_covariance())
    assert mean.ravel() == pytest.approx(outputs.mean(1), abs=1e-4)
    assert variance.ravel() == pytest.approx(outputs.var(1), rel=1e-4)
    assert crossed.ravel() == pytest.approx(outputs.var(1), rel=1e-4)


def test_a_small_variance_beside_a_large_mean_is_not_lost():
    """As in pictures that are mostly background: float32 products of the whole would leave noise, also below zero."""
    node = conv(4, 4, (3, 3), groups=4)
    x = torch.from_numpy(RNG(2).normal(200.0, 0.02, size=(16, 4, 66, 66)).astype(np.float32))
    found = measure_moments(node, x, apply_node(node, [x])).covariance()
    exact = np.stack([np.cov(rows) for rows in torch.nn.functional.unfold(x.double(), 3).numpy()
                      .reshape(16, 4, 9, -1).transpose(1, 2, 0, 3).reshape(4, 9, -1)])  # fmt: skip
    assert np.abs(found - exact).max() < 1e-3 * exact.max()
    assert np.linalg.eigvalsh(found).min() > 0


@pytest.mark.parametrize("node", [conv(16, 32), conv(32, 32, (3, 3), groups=32)], ids=["pointwise", "depthwise"])
def test_compensated_rounding_leaves_less_error_on_inputs_it_has_not_seen(node):
    seen, unseen = correlated(32, 32), correlated(32, 32, seed=5)
    rows = to_rows(node.weight, node.groups)
    covariance = measure_moments(node, seen, apply_node(node, [seen])).covariance()
    exact = apply_node(node, [unseen])

    def error(rounded):
        values, step = rounded
        weight = torch.from_numpy(values * step[:, None, None, None])
        wrong = apply_node(node, [unseen], weight=weight) - exact
        return float((wrong - wrong.mean((0, 2, 3), keepdim=True)).square().mean())

    assert error(round_compensated(node, rows, 0.02, covariance)) < 0.5 * error(round_nearest(node, rows, 0.02))


def test_no_rounding_breaks_the_limit_on_pairs():
    """Weights all of one size and sign are those that would: each pair sums to twice the largest."""
    for features in (8, 9):
        node = replace(conv(64, features), weight=RNG(3).uniform(0.9, 1.0, (64, features, 1, 1)).astype(np.float32))
        x = correlated(8, features)
        rows = to_rows(node.weight, 1)
        covariance = measure_moments(node, x, apply_node(node, [x])).covariance()
        for values, _ in (round_nearest(node, rows, 0.02), round_compensated(node, rows, 0.02, covariance)):
            flat = values.astype(int).reshape(64, -1)
            even = features // 2 * 2
            assert np.abs(flat[:, 0:even:2] + flat[:, 1:even:2]).max() <= PAIR_LIMIT
            assert np.abs(flat).max() <= 127


def test_refitted_weights_read_rounded_inputs_better():
    """One input is mostly noise and another carries the same signal: weight moves from the one to the other."""
    node = replace(conv(1, 2), weight=np.array([[[[1.0]], [[1.0]]]], np.float32))
    rng = RNG(0)

    def draw(n):
        signal = rng.normal(size=(n, 1, 4, 4))
        exact = np.concatenate([signal, signal], 1).astype(np.float32)
        noisy = exact + np.array([0.0, 2.0], np.float32)[:, None, None] * rng.normal(size=exact.shape).astype(
            np.float32
        )
        return torch.from_numpy(noisy), apply_node(node, [torch.from_numpy(exact)])

    x, wanted = draw(64)
    rows = to_rows(node.weight, 1)
    found = refit(rows, *(measure_moments(node, x[half::2], wanted[half::2]) for half in range(2)))
    x, wanted = draw(64)
    errors = [
        float(
            (
                apply_node(node, [x], weight=torch.from_numpy(from_rows(r, (1, 2, 1, 1)).astype(np.float32))) - wanted
            ).var()
        )
        for r in (rows, found)
    ]
    assert errors[1] < 0.5 * errors[0]


def test_a_layer_with_too_few_positions_stays_near_its_weights():
    """64 features and 8 positions: plain least squares would fit the noise exactly, and be wrong everywhere else."""
    node = conv(4, 64)
    unseen = torch.from_numpy(RNG(2).normal(size=(200, 64, 1, 1)).astype(np.float32))
    exact = apply_node(node, [unseen])
    rows = to_rows(node.weight, 1)
    for seed in range(5):
        x = torch.from_numpy(RNG(seed).normal(size=(8, 64, 1, 1)).astype(np.float32))
        noise = torch.from_numpy(RNG(seed + 9).normal(size=(8, 4, 1, 1)).astype(np.float32))
        wanted = apply_node(node, [x]) + noise
        found = refit(rows, *(measure_moments(node, x[half::2], wanted[half::2]) for half in range(2)))
        weight = torch.from_numpy(from_rows(found, node.weight.shape).astype(np.float32))
        assert float((apply_node(node, [unseen], weight=weight) - exact).var()) < 0.1 * float(exact.var())


def test_weights_move_where_the_inputs_vary_and_nowhere_else():
    """64 features driven by 3 sources, 160 positions: least squares without a ridge would fit noise in the other 61."""
    node = conv(1, 64)
    mix, wrong = RNG(3).normal(size=(64, 3)), RNG(4).normal(size=3)

    def draw(n, seed):
        sources = RNG(seed).normal(size=(n, 3))
        x = sources @ mix.T + 0.1 * RNG(seed + 1).normal(size=(n, 64))
        images = torch.from_numpy(x[:, :, None, None].astype(np.float32))
        asked = apply_node(node, [images]) + torch.from_numpy(
            (3 * sources @ wrong)[:, None, None, None].astype(np.float32)
        )
        return images, asked

    x, wanted = draw(160, 0)
    wanted += torch.from_numpy(RNG(9).normal(size=(160, 1, 1, 1)).astype(np.float32))
    rows = to_rows(node.weight, 1)
    found = refit(rows, *(measure_moments(node, x[half::2], wanted[half::2]) for half in range(2)))
    x, asked = draw(1000, 5)
    weight = torch.from_numpy(from_rows(found, node.weight.shape).astype(np.float32))
    assert float((apply_node(node, [x], weight=weight) - asked).var()) < 0.2


@pytest.mark.parametrize(
    "recipe",
    [QuantizationRecipe(), QuantizationRecipe("nearest", refit=False), QuantizationRecipe(ranges="percentile")],
    ids=["default", "nearest", "percentile"],
)
def test_the_same_bytes_whatever_the_number_of_threads(recipe):
    graph, x = small_network(33), RNG(0).normal(size=(64, 3, 33, 33)).astype(np.float32)
    before = torch.get_num_threads()
    made = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            made.append(to_onnx(graph, quantize(graph, x, recipe=recipe)).SerializeToString())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert made[0] == made[1]


def with_scores(classes=40) -> Graph:
    """Two linear layers with a hard-swish between, as MobileNetV3 ends, trained to nothing in particular."""
    graph = small_network()
    wide = RNG(3).normal(scale=0.3, size=(32, 8)).astype(np.float32)
    scores = RNG(4).normal(scale=0.3, size=(classes, 32)).astype(np.float32)
    more = (
        Node("linear", "t05", ("t04",), wide, np.zeros(32, np.float32)),
        Node("hard_swish", "t06", ("t05",)),
        Node("linear", "t07", ("t06",), scores, RNG(5).normal(size=classes).astype(np.float32)),
    )
    return replace(graph, nodes=(*graph.nodes, *more))


def test_an_int8_classifier_is_integers_in_the_file_and_keeps_the_classes():
    graph, x = with_scores(), RNG(0).normal(size=(200, 3, 6, 6)).astype(np.float32)
    whole = quantize(graph, x[:64], recipe=QuantizationRecipe(classifier="int8"))
    model = to_onnx(graph, whole)
    assert max(t.dims[0] for t in model.graph.initializer if t.data_type == TensorProto.FLOAT and t.dims) <= 40
    assert not any(t.data_type == TensorProto.FLOAT and len(t.dims) == 2 for t in model.graph.initializer)
    floating = in_batches(GraphModule(graph).eval(), x)
    run = OnnxModel(model.SerializeToString()).run(x)
    reference = in_batches(QuantizedReference(graph, whole), x)
    lost = np.sqrt(np.mean((reference - floating) ** 2))
    assert np.sqrt(np.mean((run - reference) ** 2)) < 0.2 * lost
    assert (run.argmax(1) == floating.argmax(1)).mean() > 0.95
    assert "t07" not in whole.tensors  # scores stay float
    assert len(np.unique(run)) > 255


def test_an_int8_classifier_is_read_from_a_file_and_trained_as_it_was():
    graph, x = with_scores(), RNG(0).normal(size=(64, 3, 6, 6)).astype(np.float32)
    whole = quantize(graph, x, recipe=QuantizationRecipe(classifier="int8"))
    _, read = from_onnx(to_onnx(graph, whole))
    for name in ("t05", "t07"):
        assert np.array_equal(read.weights[name].values, whole.weights[name].values)
    _, kept = FakeQuantGraphModule(graph, whole).to_quantized()
    for name in ("t05", "t07"):
        assert np.array_equal(kept.weights[name].values, whole.weights[name].values)
        pairs = whole.weights[name].values.astype(int).reshape(len(whole.weights[name].values), -1, 2)
        assert np.abs(pairs.sum(2)).max() <= PAIR_LIMIT


def test_a_classifier_is_float_unless_asked_for_and_features_are_always_the_same():
    graph, x = with_scores(), RNG(0).normal(size=(32, 3, 6, 6)).astype(np.float32)
    assert set(quantize(graph, x).weights) == {"t00", "t01", "t02"}
    base = small_network()
    made = [to_onnx(base, quantize(base, x, recipe=QuantizationRecipe(classifier=c))) for c in ("float", "int8")]
    assert made[0] == made[1]


def test_without_bias_correction_biases_are_the_float_ones():
    graph = small_network()
    x = RNG(0).normal(size=(32, 3, 6, 6)).astype(np.float32)
    plain = quantize(graph, x, recipe=QuantizationRecipe(bias_correction=False)).weights
    corrected = quantize(graph, x).weights
    assert all(not found.bias.any() for found in plain.values())
    assert any(found.bias.any() for found in corrected.values())


def test_without_bias_correction_rounding_minds_the_mean_as_well():
    """Inputs far from zero: an error in the mean, which no bias will take up, is as bad as any other."""
    x = (3.0 + 0.1 * RNG(0).normal(size=(64, 3, 6, 6))).astype(np.float32)
    graph = replace(small_network(), nodes=(small_network().nodes[0], Node("pool", "t04", ("t00",))))
    node = replace(graph.nodes[0], weight=graph.nodes[0].weight / 8, low=-np.inf, high=np.inf)
    graph = replace(graph, nodes=(node, graph.nodes[1]))
    exact = apply_node(node, [torch.from_numpy(x)])

    def error(rounding):
        recipe = QuantizationRecipe(rounding, refit=False, bias_correction=False)
        found = quantize(graph, x, recipe=recipe)
        weight = found.weights["t00"].values * found.weights["t00"].scale[:, None, None, None]
        given = apply_node(node, [found.tensors["image"].round(torch.from_numpy(x))], weight=torch.from_numpy(weight))
        return float((given - exact).square().mean())

    assert error("compensated") < 0.3 * error("nearest")


def test_ranges_are_what_their_names_say():
    x = RNG(0).normal(size=(500, 3, 6, 6)).astype(np.float32)
    x[0, 0, 0, 0] = 100.0
    width = {}
    for ranges in ("minmax", "percentile", "mse"):
        scale = quantize(small_network(), x, recipe=QuantizationRecipe(ranges=ranges)).tensors["image"]
        width[ranges] = scale.high - scale.low
    assert width["minmax"] == pytest.approx(100.0 - x.min(), rel=0.01)
    assert width["percentile"] < 0.2 * width["minmax"]
    assert width["mse"] < width["minmax"]


def test_inputs_that_are_always_zero_are_no_difficulty():
    graph = small_network()
    found = quantize(graph, np.zeros((4, 3, 6, 6), np.float32))
    assert all(np.isfinite(weights.scale).all() and (weights.scale > 0).all() for weights in found.weights.values())
    assert all(np.isfinite(scale.step) and scale.step > 0 for scale in found.tensors.values())


def test_one_example_is_enough():
    found = quantize(small_network(), RNG(0).normal(size=(1, 3, 6, 6)).astype(np.float32))
    assert set(found.weights) == {"t00", "t01", "t02"}


def nan_in(index):
    x = np.zeros((4, 3, 6, 6), np.float32)
    x[index] = np.nan
    return x


@pytest.mark.parametrize(
    ("calibration", "said"),
    [
        (np.empty((0, 3, 6, 6), np.float32), "no calibration examples"),
        (np.zeros((4, 3, 6, 5), np.float32), "of shape"),
        (nan_in((2, 0, 1, 1)), "example 2"),
    ],
    ids=["empty", "wrong shape", "NaN"],
)
def test_calibration_that_cannot_serve_is_refused(calibration, said):
    with pytest.raises(InputError, match=said) as refused:
        quantize(small_network(), calibration)
    assert refused.value.mend


def test_a_weight_that_is_not_finite_is_named():
    graph = small_network()
    broken = graph.nodes[1].weight.copy()
    broken[3] = np.inf
    graph = replace(graph, nodes=(graph.nodes[0], replace(graph.nodes[1], weight=broken), *graph.nodes[2:]))
    with pytest.raises(InputError) as refused:
        quantize(graph, np.zeros((4, 3, 6, 6), np.float32))
    assert refused.value.where == "t01"


@pytest.mark.parametrize("wrong", [{"rounding": "up"}, {"ranges": "max"}])
def test_an_unknown_recipe_is_refused(wrong):
    with pytest.raises(InputError, match="is not known"):
        QuantizationRecipe(**wrong)
