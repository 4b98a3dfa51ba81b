"""Our runner takes models of one form, says clearly what it cannot read, and runs examples one at a time."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from skerry.device.compression.onnx_export import to_onnx
from skerry.device.runtime import OnnxModel
from skerry.errors import InputError


@pytest.fixture(scope="module")
def path(tiny_graph, tmp_path_factory):
    found = tmp_path_factory.mktemp("session") / "tiny.onnx"
    found.write_bytes(to_onnx(tiny_graph).SerializeToString())
    return found


def test_the_form_of_a_model_is_known_before_it_runs(path):
    model = OnnxModel(path)
    assert (model.input_shape, model.outputs) == ((3, 16, 16), 5)


@pytest.mark.parametrize("workers", [1, 3])
def test_an_output_depends_on_its_own_example_to_the_last_bit(path, workers):
    x = np.random.default_rng(0).standard_normal((7, 3, 16, 16), np.float32)
    model = OnnxModel(path, workers=workers)
    together = model.run(x)
    assert together.shape == (7, 5)
    assert together.dtype == np.float32
    for row in range(7):
        assert np.array_equal(model.run(x[row : row + 1])[0], together[row])
    assert np.array_equal(model.run(x[::-1]), together[::-1])
    assert np.array_equal(model.run(np.asfortranarray(x)), together)
    assert model.run(x[:0]).shape == (0, 5)


def test_examples_reach_the_runtime_one_at_a_time(path, monkeypatch):
    model, seen = OnnxModel(path), []

    class Watched:
        def run(self, names, feed):
            seen.extend(len(x) for x in feed.values())
            return [np.zeros((1, 5), np.float32)]

    monkeypatch.setattr(model, "_session", Watched())
    model.run(np.zeros((4, 3, 16, 16), np.float32))
    assert seen == [1, 1, 1, 1]


def test_an_example_of_another_size_is_refused(path):
    with pytest.raises(InputError, match=r"\(3, 15, 16\).*\(3, 16, 16\)"):
        OnnxModel(path).run(np.zeros((1, 3, 15, 16), np.float32))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_truncated_file_is_refused_wherever_it_ends(path, tmp_path_factory, data):
    whole = path.read_bytes()
    torn = tmp_path_factory.mktemp("torn") / "torn.onnx"
    torn.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(InputError, match="cannot read the model") as caught:
        OnnxModel(torn)
    assert caught.value.where == str(torn)


def test_a_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        OnnxModel(tmp_path / "nowhere.onnx")


@pytest.mark.parametrize(
    ("kind", "shape", "inputs"),
    [
        (TensorProto.INT64, ["n", 5], 1),
        (TensorProto.FLOAT, ["n", 5], 1),
        (TensorProto.FLOAT, ["n", 3, "h", "w"], 1),
        (TensorProto.FLOAT, ["n", 3, 8, 8], 2),
        (TensorProto.FLOAT, [4, 3, 8, 8], 1),
        (TensorProto.FLOAT, ["n", 3, 8, 8], 1),
    ],
    ids=["integers", "rows", "free size", "two inputs", "fixed batch", "maps out"],
)
def test_a_model_of_another_form_is_refused_and_described(tmp_path, kind, shape, inputs):
    value = helper.make_tensor_value_info
    names = [f"in{i}" for i in range(inputs)]
    node = helper.make_node("Identity" if inputs == 1 else "Add", names, ["out"])
    graph = helper.make_graph([node], "g", [value(n, kind, shape) for n in names], [value("out", kind, shape)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(InputError, match="the model reads in0") as caught:
        OnnxModel(tmp_path / "foreign.onnx")
    assert "channels, height, width" in caught.value.mend
