"""Rows that a head reads are no longer than public ones, on devices, in what is delivered and in what is exported."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from skerry.config import default_scenario
from skerry.device.basemodel import BaseModel
from skerry.device.compression.graph import Graph, Node
from skerry.device.compression.graph_file import load_graph, save_graph
from skerry.device.compression.graph_module import GraphModule
from skerry.device.compression.onnx_export import to_onnx
from skerry.device.compression.onnx_import import from_onnx
from skerry.device.deliverable import assemble_model
from skerry.device.runtime import OnnxModel
from skerry.device.trained_graph import trained_graph
from skerry.device.whitening import Whitening, fit_whitening
from skerry.errors import InputError
from skerry.records import Float32Array


@pytest.fixture(scope="module")
def pooled() -> Float32Array:
    """Features of very different size, as those of a network are."""
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(2000, 24)) @ rng.normal(size=(24, 24)) * np.geomspace(0.01, 10, 24)
    return (mixed + rng.normal(size=24)).astype(np.float32)


@pytest.fixture(scope="module")
def fitted(pooled) -> Whitening:
    return fit_whitening(pooled, 16)


@pytest.fixture(scope="module")
def strangers(digits) -> Float32Array:
    """Pictures of noise: not digits."""
    return digits.transform(np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), np.uint8))


def lengths(rows: Float32Array) -> np.ndarray:
    return np.linalg.norm(rows[:, :-1].astype(np.float64), axis=1)


def test_one_public_row_in_twenty_is_cut_and_the_others_are_not_touched(fitted, pooled):
    before, after = (one.rows(pooled, 0.3) for one in (replace(fitted, bound=np.inf), fitted))
    cut = lengths(before) > fitted.bound
    assert cut.mean() == pytest.approx(0.05, abs=0.002)
    assert np.array_equal(before[~cut], after[~cut])
    assert np.array_equal(after[:, -1], before[:, -1])
    assert np.allclose(lengths(after[cut]), fitted.bound, rtol=1e-6)
    assert np.allclose(after[cut, :-1] / before[cut, :-1] * lengths(before[cut])[:, None], fitted.bound, rtol=1e-5)


def test_what_is_far_from_public_data_comes_no_further_than_the_bound(fitted, pooled):
    far = fitted.rows(1000 * pooled[:50], 0.3)
    assert np.allclose(lengths(far), fitted.bound, rtol=1e-6)


def test_a_row_has_the_same_bits_alone_and_among_others(fitted, pooled):
    x = np.concatenate([pooled[:20], 30 * pooled[:20]])
    together = fitted.rows(x, 0.3)
    for i in range(len(x)):
        elsewhere = np.empty(x.shape[1] + 1, np.float32)[1:]  # at another place in a cache line
        elsewhere[:] = x[i]
        assert np.array_equal(fitted.rows(elsewhere[None], 0.3)[0], together[i])


def test_integers_are_the_projection(base: BaseModel):
    """What is delivered multiplies integers and scales once; training does too, so both have the same numbers."""
    assert base.whitening.values.dtype == np.int8
    assert np.array_equal(base.whitening.layer[0].T, base.whitening.values * base.whitening.scale[:, None])
    assert (base.path / "head.safetensors").stat().st_size < 1.2 * (base.whitening.values.size + base.initial.nbytes)


def test_the_bound_is_among_the_facts_of_a_base(base: BaseModel, strangers):
    facts = json.loads((base.path / "base.json").read_text())
    assert facts["longest_row"] == base.whitening.bound == float(np.float32(base.whitening.bound))
    assert lengths(base.features(strangers)).max() <= facts["longest_row"] * (1 + 1e-6)
    assert lengths(base.float_features(strangers)).max() <= facts["longest_row"] * (1 + 1e-6)


def test_strangers_are_cut_in_what_is_delivered_and_what_comes_back_of_it(base: BaseModel, strangers, few, tmp_path):
    x = np.concatenate([few, strangers])
    rows = base.features(x)
    at_bound = np.isclose(lengths(rows[len(few) :]), base.whitening.bound, rtol=1e-6)
    assert at_bound.mean() > 0.8  # so the cut matters here
    files = assemble_model(base, base.initial, tmp_path, {"run": "r"})
    scores = OnnxModel(files["model.int8.onnx"]).run(x)
    assert np.abs(scores - rows @ base.initial.reshape(10, -1).T).max() < 1e-4
    graph, quantization = from_onnx(onnx.load(str(files["model.int8.onnx"])), base.classes)
    assert [node.op for node in graph.nodes[-3:]] == ["linear", "clip_norm", "linear"]
    again = to_onnx(graph, quantization).SerializeToString()
    assert np.array_equal(OnnxModel(again).run(x), scores)
    assert len(again) < 1.01 * files["model.int8.onnx"].stat().st_size  # the whitening is int8 again
    whiten = graph.nodes[-3]
    other = replace(graph, nodes=(*graph.nodes[:-3], replace(whiten, weight=whiten.weight * 2), *graph.nodes[-2:]))
    trained, plain = to_onnx(other, quantization), to_onnx(other, replace(quantization, stored={}))
    assert trained == plain  # weights that are no longer the integers' are written as they are


def test_the_graph_of_a_run_cuts_too(base: BaseModel, strangers, tmp_path):
    assemble_model(base, base.initial, tmp_path, {"run": "r"})
    graph = trained_graph(default_scenario(), base.digest, tmp_path)
    with torch.no_grad():
        scores = GraphModule(graph)(torch.from_numpy(strangers)).numpy()
    expected = base.float_features(strangers) @ base.initial.reshape(10, -1).T
    assert np.abs(scores - expected).max() < 1e-3


def vectors(bound: float) -> Graph:
    """Means over a map, cut."""
    return Graph("x", (5, 2, 2), (Node("pool", "p", ("x",)), Node("clip_norm", "rows", ("p",), bound=bound)))


def test_a_norm_is_clipped_the_same_in_torch_onnx_and_files(tmp_path):
    graph = vectors(0.75)
    x = np.random.default_rng(0).normal(size=(40, 5, 2, 2)).astype(np.float32)
    x[0] = 0
    means = x.mean((2, 3))
    expected = means * np.minimum(1, 0.75 / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9))
    assert (np.linalg.norm(means, axis=1) < 0.75).sum() > 5
    assert (np.linalg.norm(means, axis=1) > 0.75).sum() > 5
    inputs = torch.from_numpy(x).requires_grad_()
    y = GraphModule(graph)(inputs)
    assert np.allclose(y.detach().numpy(), expected, atol=1e-6)
    y.sum().backward()
    assert torch.isfinite(inputs.grad).all()  # at zero too
    assert np.allclose(OnnxModel(to_onnx(graph).SerializeToString()).run(x), expected, atol=1e-6)
    save_graph(graph, tmp_path / "graph")
    for back in (load_graph(tmp_path / "graph"), from_onnx(to_onnx(graph))[0]):
        assert back.nodes[-1].__dict__ == graph.nodes[-1].__dict__


@pytest.mark.parametrize(
    ("operator", "change"),
    [
        ("Cast", lambda node: node.attribute[0].__setattr__("i", onnx.TensorProto.DOUBLE)),
        ("Cast", lambda node: node.input.__setitem__(0, "other")),
        ("Mul", lambda node: node.input.__setitem__(0, "other")),
        ("Mul", lambda node: node.input.__setitem__(1, "other")),
    ],
)
def test_stored_weights_of_another_form_are_refused(base: BaseModel, tmp_path, operator, change):
    model = onnx.load(str(assemble_model(base, base.initial, tmp_path, {"run": "r"})["model.int8.onnx"]))
    change(next(node for node in model.graph.node if node.op_type == operator))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(3, np.float32), "other"))
    with pytest.raises(InputError, match=f"no {operator} of this form"):
        from_onnx(model)


@pytest.mark.parametrize("bound", [0.0, -1.0, np.inf, np.nan])
def test_a_norm_has_a_finite_bound_above_zero(bound, tmp_path):
    with pytest.raises(InputError, match="cut to the norm"):
        save_graph(vectors(bound), tmp_path / "graph")


def test_a_map_has_no_norm_that_is_clipped():
    with pytest.raises(InputError, match="cut to the norm"):
        _ = Graph("x", (5, 2, 2), (Node("clip_norm", "rows", ("x",), bound=1.0),)).shapes


@pytest.mark.parametrize(
    ("operator", "change"),
    [
        ("ReduceL2", lambda node: node.ClearField("attribute")),
        ("Max", lambda node: node.input.__setitem__(1, "p")),
        ("Div", lambda node: node.input.__setitem__(0, "other")),
        ("Div", lambda node: node.input.__setitem__(1, "rows.norm")),
        ("Mul", lambda node: node.input.__setitem__(1, "rows.longest")),
        ("Mul", lambda node: node.input.__setitem__(0, "x")),
    ],
)
def test_parts_of_a_clipped_norm_that_skerry_does_not_write_are_refused(operator, change):
    model = to_onnx(vectors(0.75))
    node = next(node for node in model.graph.node if node.op_type == operator)
    change(node)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.5), "other"))
    with pytest.raises(InputError, match=f"no {operator} of this form"):
        from_onnx(model)
