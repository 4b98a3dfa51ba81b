"""Which operations a file has is read as the runtime reads it, and only arithmetic on the input is let through."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from skerry.device.basemodel import BaseModel
from skerry.device.runtime import check_operations
from skerry.device.runtime.operations import operations
from skerry.errors import RefusedError


def _tiny(*nodes: onnx.NodeProto, initializers: tuple[onnx.TensorProto, ...] = (), functions=(), opset=17) -> bytes:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    graph = helper.make_graph(list(nodes), "tiny", [x], [y], list(initializers))
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, functions=list(functions), opset_imports=imports, ir_version=10).SerializeToString()


def _branches() -> bytes:
    y = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Add", ["x", "x"], ["z"])], "branch", [], [y])
    return _tiny(helper.make_node("Add", ["x", "x"], ["y"], then_branch=branch))


def _elsewhere() -> bytes:
    tensor = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../identity.json")
    return _tiny(helper.make_node("Add", ["x", "w"], ["y"]), initializers=(tensor,))


def _function() -> bytes:
    opset = [helper.make_opsetid("", 17)]
    made = helper.make_function("own", "Add", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], opset)
    return _tiny(helper.make_node("Add", ["x", "x"], ["y"]), functions=[made])


def _cast(to: int, *between: onnx.NodeProto) -> bytes:
    """From ``x`` to ``i`` of another type, perhaps on to ``j``, and back to float32."""
    back = helper.make_node("Cast", ["j" if between else "i"], ["y"], to=TensorProto.FLOAT)
    return _tiny(helper.make_node("Cast", ["x"], ["i"], to=to), *between, back)


def _fails_at_zero() -> bytes:
    return _cast(TensorProto.INT32, helper.make_node("Div", ["i", "i"], ["j"]))


def _fails_at_nan() -> bytes:
    return _cast(TensorProto.STRING, helper.make_node("Cast", ["i"], ["j"], to=TensorProto.INT64))


def _rounded_fails_at_zero(kind: int) -> bytes:
    zero, one = helper.make_tensor("zero", kind, [], [0]), helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])
    return _tiny(
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["i"]),
        helper.make_node("Div", ["i", "i"], ["j"]),
        helper.make_node("DequantizeLinear", ["j", "one", "zero"], ["y"]),
        initializers=(zero, one),
        opset=21,
    )


def _cast_to(*types: int) -> bytes:
    """One cast that says its type never, once, or more than once."""
    node = helper.make_node("Cast", ["x"], ["y"])
    node.attribute.extend(helper.make_attribute("to", one) for one in types)
    return _tiny(node)


def _beyond_32_bits() -> bytes:
    """The graph under a key that is its own in the lower 32 bits only."""
    model = _tiny(helper.make_node("RandomUniformLike", ["x"], ["y"]))
    graph = onnx.load_from_string(model).graph.SerializeToString()
    key = model.index(graph) - len(_varint(len(graph))) - 1
    assert model[key] == 0x3A
    return model[:key] + b"\xba\x80\x80\x80\x10" + model[key + 1 :]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (_tiny(helper.make_node("RandomUniformLike", ["x"], ["y"])), "RandomUniformLike"),
        (_tiny(helper.make_node("Add", ["x", "x"], ["y"], domain="com.example")), "com.example::Add"),
        (_branches(), r"\(graph\)"),
        (_elsewhere(), r"\(external data\)"),
        (_function(), r"\(function\)"),
        (_fails_at_zero(), r"Cast \(not to float32\)"),
        (_fails_at_nan(), r"Cast \(not to float32\)"),
        (_rounded_fails_at_zero(TensorProto.UINT8), r"\(integer arithmetic\)"),
        (_rounded_fails_at_zero(TensorProto.INT16), r"\(integer arithmetic\)"),
        (_cast_to(), r"Cast \(not to float32\)"),
        (_cast_to(TensorProto.FLOAT, TensorProto.INT32), r"Cast \(not to float32\)"),
        (b"\x3a\xff", "no ONNX file"),
        (b"\x3b", "no ONNX file"),
        (b"\x38\x01", "no ONNX file"),
    ],
)
def test_what_is_not_arithmetic_on_the_input_and_own_constants_is_named_and_refused(model: bytes, named: str):
    with pytest.raises(RefusedError, match=named) as caught:
        check_operations(model, "here")
    assert caught.value.reason == "layer_refused"
    check_operations(_tiny(helper.make_node("Add", ["x", "x"], ["y"])), "here")
    check_operations(_cast_to(TensorProto.FLOAT), "here")


def test_a_message_names_ten_operations_at_most_and_none_at_length():
    many = _tiny(*(helper.make_node(f"Strange{i:02}" + 1000 * "x", ["x"], ["y"]) for i in range(50)))
    with pytest.raises(RefusedError, match=r"Strange09x+ and 40 more") as caught:
        check_operations(many, "here")
    assert len(caught.value.what) < 1000


@pytest.mark.parametrize(
    ("model", "value", "says"),
    [
        (_fails_at_zero(), 0.0, "division by zero"),
        (_rounded_fails_at_zero(TensorProto.UINT8), 0.0, "division by zero"),
        (_fails_at_nan(), np.nan, "Cast"),
    ],
)
def test_what_fails_on_one_value_only_would_tell_it(model: bytes, value: float, says: str):
    """Why those are refused: a graph that is otherwise arithmetic raises exactly when a number is this one."""
    session = onnxruntime.InferenceSession(model)
    assert session.run(None, {"x": np.ones((1, 4), np.float32)})[0].tolist() == [[1, 1, 1, 1]]
    with pytest.raises(Exception, match=says):
        session.run(None, {"x": np.array([[1, 1, value, 1]], np.float32)})


def test_a_graph_that_only_the_runtime_sees_is_refused():
    """onnxruntime keeps 32 bits of a key and runs this; a reader that keeps all of them sees no graph."""
    hidden = _beyond_32_bits()
    session = onnxruntime.InferenceSession(hidden)
    assert session.run(None, {"x": np.zeros((1, 4), np.float32)})[0].std() > 0
    with pytest.raises(RefusedError, match="no ONNX file"):
        check_operations(hidden, "here")


@pytest.mark.parametrize("name", ["base.int8.onnx", "base.fp32.onnx"])
def test_the_operations_of_a_real_base_are_those_that_onnx_reads(base: BaseModel, name: str):
    data = base.read(name)
    assert operations(data) == {node.op_type for node in onnx.load_from_string(data).graph.node}
    check_operations(data, name)


_SUM = _tiny(helper.make_node("Add", ["x", "x"], ["y"]))
_RANDOM = _tiny(helper.make_node("RandomUniformLike", ["x"], ["y"]))


def _parts(model: bytes) -> tuple[bytes, bytes, bytes]:
    """A file without its graph, the graph, and the graph's node."""
    read = onnx.load_from_string(model)
    graph, (node,) = read.graph.SerializeToString(), read.graph.node
    read.ClearField("graph")
    return read.SerializeToString(), graph, node.SerializeToString()


@st.composite
def _files(draw: st.DrawFn) -> bytes:
    """A model that sums, or draws random numbers, or has no graph; a second graph under near keys, and a flaw."""
    bare, graph, node = _parts(_RANDOM)
    data = bytearray(draw(st.sampled_from([bare, _SUM, _RANDOM])))
    part = draw(st.sampled_from([None, graph, b"\x0a" + _varint(len(node)) + node, b""]))
    if part is not None:
        key = draw(st.sampled_from([7 << 3 | 2, 7 << 3 | 3, 25 << 3 | 2]))
        data += _varint(key + (draw(st.integers(0, 1)) << 32)) + _varint(len(part)) + part
    flaw = draw(st.sampled_from(["none", "byte", "end"]))
    if flaw == "byte":
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data) + (draw(st.binary(max_size=20)) if flaw == "end" else b"")


@settings(max_examples=300, deadline=None)
@given(_files())
@example(_RANDOM + b"\x3a\x00")  # a second graph, which the runtime adds to the first
@example(_beyond_32_bits())
def test_whatever_is_let_through_the_runtime_refuses_or_computes_twice_the_same(data: bytes):
    """What counts is what the runtime reads of a file, not what another reader of ONNX does."""
    try:
        check_operations(data, "here")
    except RefusedError:
        return
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(data, options)
        x = {session.get_inputs()[0].name: np.ones((1, 4), np.float32)}
        once = session.run(None, x)
    except Exception:  # noqa: BLE001 - onnxruntime's own exception classes are not part of its interface
        return
    assert all(np.array_equal(a, b) for a, b in zip(once, session.run(None, x), strict=True))
