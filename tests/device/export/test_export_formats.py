"""Each format is read back and compared with torch before it is there; what differs is refused and leaves nothing."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from skerry.canonical import sha256_hex
from skerry.device.compression.graph_file import load_graph, save_graph
from skerry.device.compression.graph_module import GraphModule
from skerry.device.compression.onnx_export import to_onnx
from skerry.device.compression.quantize import quantize
from skerry.device.export import FORMATS, Calibration, export_model, exporting
from skerry.device.export.compare import FLOAT, INT8, check_operations, compare, require
from skerry.device.export.reference import QuantizedReference, in_batches
from skerry.device.model_source import NetworkOptions, resolve_model
from skerry.device.runtime import OnnxModel
from skerry.errors import InputError, MissingDependencyError, RefusedError

INSTALLED = importlib.util.find_spec("executorch") is not None


def noise(count: int, shape=(3, 16, 16), seed: int = 1):
    return np.random.default_rng(seed).standard_normal((count, *shape), np.float32)


@pytest.fixture
def source(tiny_graph, tmp_path: Path):
    save_graph(tiny_graph, tmp_path / "tiny.safetensors")
    return resolve_model(str(tmp_path / "tiny.safetensors"), tmp_path)


CALIBRATION = Calibration(noise(16), "noise")


def test_every_torch_free_format_computes_what_torch_does(source, tiny_graph, tmp_path):
    out = tmp_path / "out"
    made = export_model(source, ["onnx", "onnx-int8", "safetensors"], out, calibration=CALIBRATION)
    names = ["tiny.fp32.onnx", "tiny.int8.onnx", "tiny.safetensors", "card.json", "card.md"]
    assert list(made.files) == names
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    x = noise(8, seed=5)
    expected = in_batches(GraphModule(tiny_graph), x)
    assert OnnxModel(made.files["tiny.fp32.onnx"]).run(x) == pytest.approx(expected, abs=1e-5)
    assert np.array_equal(in_batches(GraphModule(load_graph(made.files["tiny.safetensors"])), x), expected)
    assert OnnxModel(made.files["tiny.int8.onnx"]).run(x) == pytest.approx(expected, abs=0.1)


def test_many_classes_are_exported_with_an_int8_classifier(tiny_graph, tmp_path):
    weight = np.random.default_rng(2).normal(scale=0.2, size=(200, 16)).astype(np.float32)
    scores = replace(tiny_graph.nodes[-1], weight=weight, bias=np.zeros(200, np.float32))
    save_graph(replace(tiny_graph, nodes=(*tiny_graph.nodes[:-1], scores), classes=()), tmp_path / "many.safetensors")
    many = resolve_model(str(tmp_path / "many.safetensors"), tmp_path)
    made = export_model(many, ["onnx-int8"], tmp_path / "out", calibration=CALIBRATION)
    held = {t.name: t for t in onnx.load(made.files["many.int8.onnx"]).graph.initializer}
    assert held["scores.weight.int"].data_type == onnx.TensorProto.INT8
    assert "scores.weight" not in held


def test_the_card_says_what_travels_with_it(source, tiny_graph, tmp_path):
    made = export_model(source, ["onnx", "onnx-int8"], tmp_path / "out", calibration=CALIBRATION, inputs=20)
    card = json.loads(made.files["card.json"].read_text())
    assert card == made.card
    for name in ("tiny.fp32.onnx", "tiny.int8.onnx"):
        entry = card["files"][name]
        assert entry["sha256"] == sha256_hex(made.files[name].read_bytes())
        assert entry["bytes"] == made.files[name].stat().st_size
        assert entry["check"]["inputs"] == 20
        assert entry["check"]["relative"] <= entry["check"]["tolerated"]
    assert card["files"]["tiny.int8.onnx"]["check"]["operations"] == len(tiny_graph.nodes)
    assert card["input"]["shape"] == ["n", 3, 16, 16]
    assert card["output"]["classes"] == list("abcde")
    assert card["architecture"]["parameters"] == tiny_graph.parameters()
    assert card["quantization"]["calibration"] == "noise"
    assert card["privacy"] == {"statement": "Not recorded in the file: take it that there is no privacy guarantee."}
    text = made.files["card.md"].read_text()
    for said in (
        card["digest"],
        "Not recorded in the file",
        "no privacy guarantee",
        "Not measured",
        "6 operations",
    ):
        assert said in text


def test_the_digest_is_that_of_the_network_and_not_of_its_file(source, tiny_graph, tmp_path):
    first = export_model(source, ["onnx"], tmp_path / "one")
    again = resolve_model(str(first.files["tiny.fp32.onnx"]), tmp_path)
    second = export_model(again, ["safetensors"], tmp_path / "two")
    assert second.card["digest"] == first.card["digest"]
    changed = replace(tiny_graph, nodes=(replace(tiny_graph.nodes[0], high=5.0), *tiny_graph.nodes[1:]))
    save_graph(changed, tmp_path / "tiny.safetensors")
    assert export_model(source, ["onnx"], tmp_path / "three").card["digest"] != first.card["digest"]


def broken_weight(graph, quantization, path):
    """An exporter with a fault in one weight."""
    model = to_onnx(graph, quantization)
    for one in model.graph.initializer:
        if one.name.startswith("wide.weight") and not one.name.endswith((".scale", ".zero")):
            values = numpy_helper.to_array(one).copy()
            values.flat[0] = 100
            one.CopyFrom(numpy_helper.from_array(values, one.name))
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("name", ["onnx", "onnx-int8"])
def test_a_file_that_computes_something_else_is_refused_and_nothing_is_left(source, tmp_path, monkeypatch, name):
    broken = {**FORMATS, name: replace(FORMATS[name], write=broken_weight)}
    monkeypatch.setattr(exporting, "FORMATS", broken)
    out = tmp_path / "out"
    with pytest.raises(RefusedError) as caught:
        export_model(source, ["safetensors", name], out, calibration=CALIBRATION)
    assert caught.value.reason == "outputs_differ"
    assert not out.exists()


def test_what_was_exported_before_stays_when_the_next_is_refused(source, tmp_path, monkeypatch):
    out = tmp_path / "out"
    export_model(source, ["onnx"], out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr(exporting, "FORMATS", {"onnx": replace(FORMATS["onnx"], write=broken_weight)})
    with pytest.raises(RefusedError):
        export_model(source, ["onnx"], out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_outputs_that_are_no_numbers_are_refused():
    good = noise(4, (5,))
    bad = good.copy()
    bad[0, good[0].argmax()] = np.nan  # where it is still the best
    require(compare(good, good, FLOAT), FLOAT, "x")
    with pytest.raises(RefusedError):
        require(compare(good, bad, FLOAT), FLOAT, "x")


def test_only_clear_cases_must_get_the_same_class():
    reference = np.array([[1.0, 0.99], [1.0, -1.0]], np.float32)
    swapped = np.array([[0.99, 1.0], [1.0, -1.0]], np.float32)
    found = compare(reference, swapped, INT8)
    assert (found.same_class, found.decided, found.decided_same) == (0.5, 1, 1.0)
    require(found, INT8, "x")
    with pytest.raises(RefusedError):
        require(compare(reference, reference[:, ::-1], INT8), INT8, "x")


def spoilt(model: onnx.ModelProto, fault: str) -> onnx.ModelProto:
    if fault == "weight":
        one = next(i for i in model.graph.initializer if i.name == "deep.weight.int")
        values = numpy_helper.to_array(one).copy()
        values[3, 0, 1, 1] = -values[3, 0, 1, 1] + 40
        one.CopyFrom(numpy_helper.from_array(values, one.name))
    elif fault == "padding":
        node = next(n for n in model.graph.node if n.op_type == "Conv" and n.name.startswith("stem"))
        pads = next(a for a in node.attribute if a.name == "pads")
        pads.ints[:] = [1, 1, 0, 0]
    else:
        one = next(i for i in model.graph.initializer if i.name == "scores.bias")
        one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one) + 0.1, one.name))
    return model


@pytest.mark.parametrize(("fault", "named"), [("weight", "deep"), ("padding", "stem"), ("bias", "scores")])
def test_a_fault_is_found_in_the_operation_that_has_it(tiny_graph, tmp_path, fault, named):
    quantization = quantize(tiny_graph, noise(16))
    path = tmp_path / "model.onnx"
    model = to_onnx(tiny_graph, quantization)
    path.write_bytes(model.SerializeToString())
    assert check_operations(path, tiny_graph, quantization, noise(4, seed=2)) == 6
    path.write_bytes(spoilt(model, fault).SerializeToString())
    with pytest.raises(RefusedError, match=f"operation {named} "):
        check_operations(path, tiny_graph, quantization, noise(4, seed=2))


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "ds_cnn"])
def test_every_kind_of_network_is_checked_operation_by_operation(tmp_path, name):
    options = NetworkOptions((3, 32, 32) if name != "ds_cnn" else (6, 1, 64), classes=4, width=0.35)
    source = resolve_model(name, tmp_path, options)
    calibration = Calibration(noise(8, options.inputs), "noise")
    made = export_model(source, ["onnx", "onnx-int8"], tmp_path / "out", calibration=calibration, inputs=16)
    assert made.card["files"][f"{name}.int8.onnx"]["check"]["operations"] > 10
    assert "untrained" in made.card["training_data"]
    assert made.card["privacy"]["statement"].startswith("No private data")


def test_the_reference_of_int8_is_close_to_float(tiny_graph):
    x = noise(32, seed=3)
    rounded = in_batches(QuantizedReference(tiny_graph, quantize(tiny_graph, noise(16))), x)
    found = compare(in_batches(GraphModule(tiny_graph), x), rounded, INT8)
    assert 1e-4 < found.relative < 0.05


@pytest.mark.parametrize(
    ("calibration", "told"),
    [
        (None, "needs examples"),
        (Calibration(noise(0), "nothing"), "empty"),
        (Calibration(noise(4, (3, 8, 8)), "small"), "shape"),
        (Calibration(np.full((2, 3, 16, 16), np.nan, np.float32), "nan"), "not finite"),
    ],
)
def test_int8_wants_examples_that_fit(source, tmp_path, calibration, told):
    with pytest.raises(InputError, match=told):
        export_model(source, ["onnx-int8"], tmp_path / "out", calibration=calibration)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(INSTALLED, reason="executorch is installed")
def test_without_executorch_the_extra_is_named(source, tmp_path):
    with pytest.raises(MissingDependencyError) as caught:
        export_model(source, ["onnx", "executorch"], tmp_path / "out")
    assert "skerry[export]" in caught.value.mend
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not INSTALLED, reason="executorch is not installed: pip install 'skerry[export]' (1.5 GB)")
@pytest.mark.timeout(1800)  # lowering is compiling
@pytest.mark.parametrize("network", ["tiny", "efficientnet_lite0", "mobilenet_v2"])
def test_executorch_programs_compute_what_torch_does(source, tmp_path, network):
    from skerry.device.export.lowering import run_program

    calibration = CALIBRATION
    if network != "tiny":
        options = NetworkOptions((3, 64, 64))
        source = resolve_model(network, tmp_path, options)
        calibration = Calibration(noise(8, options.inputs), "noise")
    formats = ["onnx-int8", "executorch", "executorch-int8"]
    made = export_model(source, formats, tmp_path / "out", calibration=calibration, inputs=16)
    float_check = made.card["files"][f"{network}.fp32.pte"]["check"]
    assert float_check["relative"] < 1e-5
    x = calibration.examples[:4]
    onnx_runtime = OnnxModel(made.files[f"{network}.int8.onnx"]).run(x)
    xnnpack = run_program(made.files[f"{network}.int8.pte"], x)
    assert compare(onnx_runtime, xnnpack, INT8).relative < 0.06
    small, large = (made.files[f"{network}.{p}.pte"].stat().st_size for p in ("int8", "fp32"))
    assert small < large or network == "tiny"
