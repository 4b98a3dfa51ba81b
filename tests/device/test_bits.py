"""Weights of few bits: the file is what it claims, the allocation is the best there is, and outputs move least."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from skerry.device.compression.bits import allocate_bits, apply_bits, sensitivities, uniform_bits
from skerry.device.compression.graph import Graph, Node
from skerry.device.compression.graph_file import save_graph
from skerry.device.compression.graph_module import GraphModule
from skerry.device.compression.knapsack import Choice, choose
from skerry.device.compression.packing import (
    BITS,
    PackedGraph,
    PackedLayer,
    largest,
    load_packed,
    packed_bytes,
    save_packed,
)
from skerry.device.compression.rounding import _best_scale, _descend, _first_scale, _nearest, _one_by_one
from skerry.device.training.central import predict
from skerry.errors import InputError

CHOICES = st.lists(st.builds(Choice, st.integers(0, 12), st.integers(0, 20).map(float)), min_size=1, max_size=4)


def layer(name: str, source: str, shape: tuple[int, ...], rng: np.random.Generator, **more) -> Node:
    spread = 1 / np.sqrt(np.prod(shape[1:]))
    gain = np.exp(rng.normal(size=(shape[0],) + (1,) * (len(shape) - 1)))
    weight = (rng.normal(size=shape) * spread * gain).astype("f")
    op = "conv" if len(shape) == 4 else "linear"
    return Node(op, name, (source,), weight, 0.1 * rng.normal(size=shape[0]).astype("f"), **more)


@pytest.fixture(scope="module")
def graph() -> Graph:
    """Depthwise separable, with an uneven kernel, uneven pads, groups, a residual addition and a linear layer."""
    rng = np.random.default_rng(0)
    nodes = (
        layer("stem", "x", (16, 3, 3, 2), rng, stride=(2, 1), pads=(0, 1, 1, 0), low=0.0, high=6.0),
        layer("depthwise", "stem", (16, 1, 3, 3), rng, pads=(1, 1, 1, 1), groups=16, low=0.0, high=6.0),
        layer("grouped", "depthwise", (16, 4, 1, 1), rng, groups=4),
        Node("add", "sum", ("stem", "grouped")),
        layer("wide", "sum", (48, 16, 1, 1), rng, low=0.0),
        Node("pool", "pooled", ("wide",)),
        layer("scores", "pooled", (5, 48), rng),
    )
    return Graph("x", (3, 12, 10), nodes, tuple("abcde"))


@pytest.fixture(scope="module")
def examples() -> np.ndarray:
    """Correlated, as pictures are."""
    rng = np.random.default_rng(1)
    rough = rng.normal(size=(160, 3, 12, 10))
    return (rough + np.roll(rough, 1, 2) + np.roll(rough, 1, 3) + 2 * rng.normal(size=(160, 1, 1, 1))).astype("f")


def drawn(graph: Graph, seed: int) -> PackedGraph:
    """All values and bits at random."""
    rng = np.random.default_rng(seed)
    layers = {}
    for node in graph.nodes:
        if node.weight is not None:
            bits = int(rng.choice(BITS))
            values = rng.integers(-largest(bits), largest(bits) + 1, node.weight.shape)
            values = (values // 2 * 2 + 1 if bits == 2 else values).astype(np.int8)
            rows = [rng.normal(size=len(values)).astype(np.float16) for _ in "sb"]
            layers[node.name] = PackedLayer(bits, values, *rows)
    return PackedGraph(graph, layers)


def moved(graph: Graph, other: Graph, x: np.ndarray) -> float:
    return float(np.square(predict(GraphModule(graph), x) - predict(GraphModule(other), x)).mean())


@given(seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_what_is_read_is_what_was_written_in_as_many_bytes_as_claimed(graph, tmp_path_factory, seed):
    path, packed = tmp_path_factory.mktemp("packed") / "p.safetensors", drawn(graph, seed)
    claimed = packed_bytes(graph, {name: made.bits for name, made in packed.layers.items()})
    assert save_packed(packed, path) == path.stat().st_size == claimed
    again = load_packed(path)
    for name, made in packed.layers.items():
        assert again.layers[name].bits == made.bits
        for part in ("values", "scale", "bias"):
            assert np.array_equal(getattr(again.layers[name], part), getattr(made, part))
    for a, b in zip(again.graph.nodes, packed.graph.nodes, strict=True):
        assert a.weight is None or (np.array_equal(a.weight, b.weight) and np.array_equal(a.bias, b.bias))
        assert replace(a, weight=None, bias=None).__dict__ == replace(b, weight=None, bias=None).__dict__
    once = path.read_bytes()
    save_packed(again, path)
    assert path.read_bytes() == once


def test_two_bits_take_a_quarter_of_eight(graph):
    weights = sum(node.weight.size for node in graph.nodes if node.weight is not None)
    assert abs(uniform_bits(graph, 8).bytes - uniform_bits(graph, 2).bytes - 0.75 * weights) <= 16  # text, padding


def test_damaged_and_foreign_files_are_refused(graph, tmp_path: Path):
    path = tmp_path / "p.safetensors"
    save_packed(drawn(graph, 0), path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            load_packed(path)
    with pytest.raises(InputError, match="cannot read"):
        load_packed(tmp_path / "none.safetensors")
    save_graph(graph, path)
    with pytest.raises(InputError, match="no network with packed weights"):
        load_packed(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"version":1', '"version":9'),
        ('"stem":[', '"mets":['),
        ("[16,3,3,2]", "[16,2,3,3]"),
        ("[16,3,3,2]", "[16,3,3,9]"),
        ("[16,3,3,2]", "[16,3,3,-2]"),
        ("[48,16,1,1]", "[2147483648,2147483648]"),
        ('"groups":4', '"groups":3'),
        ('"wide":[6,', '"wide":[8,'),
        ('"wide":[6,', '"wide":[5,'),
    ],
)
def test_a_changed_description_is_refused(graph, tmp_path: Path, old: str, new: str):
    packed = apply_bits(graph, uniform_bits(graph, 6), np.zeros((1, 3, 12, 10), "f"))
    path = tmp_path / "p.safetensors"
    save_packed(packed, path)
    data = path.read_bytes()
    header = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + header])["__metadata__"]["skerry.bits"]
    assert old in metadata
    path.write_bytes(save(load(data), {"skerry.bits": metadata.replace(old, new, 1)}))
    with pytest.raises(InputError):
        load_packed(path)


def test_numbers_that_no_layer_holds_are_refused(graph, tmp_path: Path):
    path = tmp_path / "p.safetensors"
    save_packed(apply_bits(graph, uniform_bits(graph, 4), np.zeros((1, 3, 12, 10), "f")), path)
    data = path.read_bytes()
    header = int.from_bytes(data[:8], "little")
    about = json.loads(data[8 : 8 + header])["__metadata__"]
    for part, change in (
        ("weights", lambda v: np.full_like(v, 255)),  # 15 stands for no value of four bits
        ("weights", lambda v: v[:-1]),
        ("weights", lambda v: np.append(v, v[:1])),
        ("scales", lambda v: np.full_like(v, np.nan)),
        ("biases", lambda v: v.astype(np.float32)),
        ("biases", lambda v: v[None]),
    ):
        tensors = load(data)
        tensors[part] = change(tensors[part])
        path.write_bytes(save(tensors, about))
        with pytest.raises(InputError, match="do not fit together"):
            load_packed(path)
    path.write_bytes(save({**load(data), "more": np.zeros(3, "f")}, about))
    with pytest.raises(InputError, match="more or fewer"):
        load_packed(path)


def test_what_bits_cannot_hold_is_not_written(graph, tmp_path: Path):
    packed = drawn(graph, 0)
    for bits, value in ((2, 0), (4, 8), (6, -32), (8, -128), (3, 1)):
        stem = replace(packed.layers["stem"], bits=bits, values=np.full((16, 3, 3, 2), value, np.int8))
        with pytest.raises(InputError):
            save_packed(replace(packed, layers={**packed.layers, "stem": stem}), tmp_path / "p")
    assert not (tmp_path / "p").exists()


@given(items=st.lists(CHOICES, min_size=1, max_size=5), budget=st.integers(0, 50))
def test_no_other_selection_within_the_budget_is_better(items, budget):
    possible = [
        sum(choice.loss for choice in picked)
        for picked in itertools.product(*items)
        if sum(choice.cost for choice in picked) <= budget
    ]
    chosen = choose(items, budget)
    if chosen is None:
        assert not possible
        return
    picked = [item[index] for item, index in zip(items, chosen, strict=True)]
    assert sum(choice.cost for choice in picked) <= budget
    assert sum(choice.loss for choice in picked) == min(possible)


def test_an_allocation_keeps_to_its_budget_and_gives_bits_where_they_pay(graph, examples):
    measured = sensitivities(graph, examples)
    assert all(losses[8] < losses[4] < losses[2] for losses in measured.values())
    whole, before = uniform_bits(graph, 8).bytes, np.inf
    for budget in range(uniform_bits(graph, 2).bytes, whole + 1, 100):
        made = allocate_bits(graph, examples, budget, measured=measured)
        assert made.bytes == packed_bytes(graph, made.bits) <= budget
        assert made.expected <= before
        before = made.expected
    assert allocate_bits(graph, examples, whole, measured=measured).bits == uniform_bits(graph, 8).bits
    between = (uniform_bits(graph, 4).bytes + uniform_bits(graph, 6).bytes) // 2
    better = allocate_bits(graph, examples, between, measured=measured)
    assert len(set(better.bits.values())) > 1
    assert better.expected < 0.9 * sum(losses[4] for losses in measured.values())


def test_outputs_move_least_when_rounding_makes_up_for_itself(graph, examples):
    held_out = examples[:40]
    for bits, part in ((8, 1.0), (4, 0.5), (2, 0.4)):
        uniform = uniform_bits(graph, bits)
        mine = moved(graph, apply_bits(graph, uniform, examples[40:]).graph, held_out)
        nearest = moved(graph, apply_bits(graph, uniform, examples[40:], compensate=False).graph, held_out)
        assert mine < part * nearest, bits


def test_each_stage_of_rounding_lowers_the_error_that_it_is_there_for():
    rng = np.random.default_rng(2)
    mixed = torch.from_numpy(rng.normal(size=(2, 400, 40)) @ rng.normal(size=(40, 40)))
    h = mixed.mT @ mixed / 400 + 0.1 * torch.eye(40)
    weight = torch.from_numpy(rng.normal(size=(2, 24, 40)))
    apart = h.diagonal(dim1=1, dim2=2)[:, None, :]

    def error(values, scale):
        change = values * scale[..., None] - weight
        return float(((change @ h) * change).sum())

    def alone(scale):
        return float(((_nearest(weight / scale[..., None], bits) * scale[..., None] - weight).square() * apart).sum())

    for bits in BITS:
        whole, scale = weight.abs().amax(2) / largest(bits), _first_scale(weight, bits, apart)
        assert alone(scale) < (0.6 if bits == 2 else 1.01) * alone(whole)
        values = _one_by_one(weight, scale, bits, h)
        assert error(values, scale) < 0.75 * error(_nearest(weight / scale[..., None], bits), scale)
        better = _best_scale(weight, values, scale, h)
        assert error(values, better) <= error(values, scale) * (1 + 1e-6 if bits < 6 else 1.05)  # float16
        final = better
        for _ in range(20):
            values = _descend(weight, values, final, bits, h)
        settled = error(values, final)
        assert settled < error(_one_by_one(weight, better, bits, h), better)
        for j in range(40):  # no single weight can be changed for the better
            for step in (-2.0, 2.0) if bits == 2 else (-1.0, 1.0):
                other = values.clone()
                other[0, 0, j] += step
                assert abs(other[0, 0, j]) > largest(bits) or error(other, final) >= settled


def test_the_means_of_outputs_stay(graph, examples):
    made = apply_bits(graph, uniform_bits(graph, 2), examples).graph
    before, after = (predict(GraphModule(g), examples) for g in (graph, made))
    assert np.abs(before.mean(0) - after.mean(0)).max() < 2e-3


def test_channels_without_weights_and_dead_inputs_do_no_harm(graph, examples):
    stem = graph.nodes[0]
    weight = stem.weight.copy()
    weight[3:9] = 0
    dead = replace(graph, nodes=(replace(stem, weight=weight), *graph.nodes[1:]))
    for bits in BITS:
        made = apply_bits(dead, uniform_bits(dead, bits), examples).graph
        assert all(np.isfinite(node.weight).all() for node in made.nodes if node.weight is not None)
        assert np.abs(made.nodes[0].weight[3:9]).max() < 1e-5


def test_what_cannot_be_is_told(graph, examples):
    least = uniform_bits(graph, 2).bytes
    with pytest.raises(InputError, match=f"{least:,} is the least"):
        allocate_bits(graph, examples, least - 1)
    with pytest.raises(InputError, match="calibration"):
        allocate_bits(graph, examples[:0], least)
    with pytest.raises(InputError, match="calibration"):
        apply_bits(graph, uniform_bits(graph, 4), examples[:, :, :5])
    with pytest.raises(InputError, match="not finite"):
        apply_bits(graph, uniform_bits(graph, 4), np.full((1, 3, 12, 10), np.nan, "f"))
    with pytest.raises(InputError, match="another network"):
        apply_bits(graph, replace(uniform_bits(graph, 4), bits={"stem": 4}), examples)
