"""A base's features are the same whichever runtime adds up what."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from skerry.device.basemodel import BaseModel
from skerry.device.compression.graph import Graph, Node
from skerry.device.compression.quantize import Quantization, quantize
from skerry.device.compression.scale import Scale
from skerry.device.pooled import on_grid
from skerry.device.ties import clear_of_ties, ties
from skerry.errors import RunFailedError

# of a base whose features were seen to differ between AVX2 and WebAssembly: 184 and 183 of the same two bytes
SEEN = (Scale(0.24465501308441162, 129), Scale(0.12860159575939178, 127), Scale(0.23668743669986725, 128))


def test_a_pair_that_two_runtimes_were_seen_to_round_apart_is_a_tie():
    assert ties(*SEEN) == 2
    assert ties(SEEN[0], SEEN[1], replace(SEEN[2], step=2 * SEEN[2].step)) == 0


def test_no_addition_of_a_base_has_a_tie(base: BaseModel):
    model = onnx.load(str(base.file(8)))
    numbers = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    made = {node.output[0]: node for node in model.graph.node}
    read = {node.input[0]: node for node in model.graph.node if node.op_type == "QuantizeLinear"}

    def scale(node: onnx.NodeProto) -> Scale:
        return Scale(float(numbers[node.input[1]]), int(numbers[node.input[2]]))

    sums = [node for node in model.graph.node if node.op_type == "Add"]
    assert len(sums) == 9
    for node in sums:
        assert ties(*(scale(made[name]) for name in node.input), scale(read[node.output[0]])) == 0, node.name


def test_where_no_step_will_do_nothing_is_built(monkeypatch: pytest.MonkeyPatch):
    graph = Graph(input="a", input_shape=(1, 1, 1), nodes=(Node("add", "sum", ("a", "b")),))
    seen = Quantization(dict(zip(("a", "b", "sum"), SEEN, strict=True)), {})
    assert ties(*(clear_of_ties(graph, seen).tensors[name] for name in ("a", "b", "sum"))) == 0
    monkeypatch.setattr("skerry.device.ties._TRIES", 0)  # the step itself, and no other
    with pytest.raises(RunFailedError, match="sum"):
        clear_of_ties(graph, seen)


def test_steps_move_by_millionths_and_what_is_read_counts_in_them():
    """A small network with an addition, at many scales: of those that have ties none is left with one."""
    rng = np.random.default_rng(0)
    conv = {"weight": np.eye(4, dtype=np.float32)[:, :, None, None], "bias": rng.normal(size=4).astype(np.float32)}
    graph = Graph(input="image", input_shape=(4, 6, 6), nodes=(
        Node("conv", "one", ("image",), **conv),
        Node("add", "sum", ("image", "one")),
        Node("conv", "two", ("sum",), **conv),
        Node("pool", "features", ("two",)),
    ))  # fmt: skip
    had = 0
    for _ in range(12):
        found = quantize(graph, rng.normal(size=(8, 4, 6, 6)).astype(np.float32))
        clear = clear_of_ties(graph, found)
        before, after = (ties(*(one.tensors[name] for name in ("image", "one", "sum"))) for one in (found, clear))
        had += before > 0
        assert after == 0
        step = clear.tensors["sum"].step
        assert step == pytest.approx(found.tensors["sum"].step, rel=1e-4)
        assert np.array_equal(clear.weights["two"].bias_scale, clear.weights["two"].scale * np.float32(step))
        meant = found.weights["two"].bias * found.weights["two"].bias_scale.astype(float)
        assert np.allclose(clear.weights["two"].bias * clear.weights["two"].bias_scale, meant, atol=step / 2)
    assert had >= 2


def test_features_are_the_multiples_that_they_stand_for(base: BaseModel, few):
    pooled, step = base.pooled(few), base.facts["step"]
    assert np.array_equal(pooled, (np.rint(pooled / np.float64(step)) * step).astype(np.float32))
    off = pooled * (1 + np.float32(2.0**-21) * np.random.default_rng(0).uniform(-1, 1, pooled.shape))
    assert not np.array_equal(off.astype(np.float32), pooled)
    assert np.array_equal(on_grid(off.astype(np.float32), step), pooled)


def test_a_row_does_not_depend_on_the_order_in_which_features_are_added_up(base: BaseModel, few):
    whitening, pooled = base.whitening, base.pooled(few)
    order = np.random.default_rng(0).permutation(len(whitening.mean))
    turned = replace(
        whitening, mean=whitening.mean[order], values=whitening.values[order], scale=whitening.scale[order]
    )
    assert np.array_equal(turned.rows(pooled[:, order], base.bias), whitening.rows(pooled, base.bias))
