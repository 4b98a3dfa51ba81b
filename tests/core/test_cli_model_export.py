"""``skerry model export`` as a user meets it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from skerry.device.compression.graph_file import save_graph
from skerry.device.compression.onnx_export import to_onnx
from skerry.device.compression.quantization_file import save_quantization
from skerry.device.compression.quantize import quantize


@pytest.fixture
def graph_file(tiny_graph, tmp_path: Path) -> Path:
    save_graph(tiny_graph, tmp_path / "tiny.safetensors")
    (tmp_path / "tiny.onnx").write_bytes(to_onnx(tiny_graph).SerializeToString())
    np.save(tmp_path / "examples.npy", np.random.default_rng(0).standard_normal((8, 3, 16, 16), np.float32))
    return tmp_path / "tiny.safetensors"


def test_files_and_card_are_written_and_told(skerry, graph_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--format", "onnx,onnx-int8", "--calibration", tmp_path / "examples.npy", "--out", out)
    document = json.loads(skerry("model", "export", graph_file, *words, "--json").stdout)
    assert set(document["files"]) == {"tiny.fp32.onnx", "tiny.int8.onnx"}
    assert document["quantization"]["calibration"] == "the file examples.npy"
    assert json.loads((out / "card.json").read_text()) == {k: v for k, v in document.items() if k != "out"}
    shown = skerry("model", "export", tmp_path / "tiny.onnx", "--format", "safetensors", "--out", out)
    assert shown.exit_code == 0, shown.stderr
    assert "tiny.safetensors" in shown.stdout


def test_what_was_compressed_is_exported_with_the_integers_it_has(skerry, tiny_graph, tmp_path: Path) -> None:
    folder = tmp_path / "compressed" / "model"
    folder.mkdir(parents=True)
    quantization = quantize(tiny_graph, np.random.default_rng(0).standard_normal((8, 3, 16, 16), np.float32))
    save_graph(tiny_graph, folder / "graph.safetensors")
    save_quantization(quantization, folder / "quantization.safetensors")
    shown = skerry("model", "export", folder.parent, "--format", "onnx-int8", "--out", tmp_path / "out")
    assert shown.exit_code == 0, shown.stderr
    written = (tmp_path / "out" / "compressed.int8.onnx").read_bytes()
    assert written == to_onnx(tiny_graph, quantization).SerializeToString()


def test_a_network_of_the_zoo_says_that_it_is_untrained(skerry, tmp_path: Path) -> None:
    words = ("--inputs", "6x1x64", "--classes", "4", "--format", "onnx", "--out", tmp_path / "out")
    shown = skerry("model", "export", "ds_cnn", *words)
    assert shown.exit_code == 0, shown.stderr
    assert "untrained" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["{graph}", "--format", "tflite"], "'tflite' is no format"),
        (["{graph}", "--format", "onnx-int8"], "needs examples"),
        (["{graph}", "--format", "onnx-int8", "--calibration", "digitz"], "did you mean 'digits'"),
        (["{graph}", "--format", "onnx-int8", "--calibration", "nowhere.npy"], "no .npy file"),
        (["{graph}", "--format", "onnx-int8", "--calibration", "{flat}"], "shape (3,)"),
        (["{graph}", "--format", "onnx", "--width", "0.5"], "those of the model"),
        (["mobilenet_v4", "--format", "onnx"], "did you mean 'mobilenet_v2'"),
        (["ds_cnn", "--format", "onnx", "--inputs", "3x"], "no input shape"),
        (["{torn}", "--format", "safetensors"], "no ONNX file, or a part"),
    ],
)
def test_bad_input_is_one_clear_message_and_leaves_nothing(skerry, graph_file, tmp_path, arguments, told) -> None:
    np.save(tmp_path / "flat.npy", np.zeros(3))
    (tmp_path / "torn.onnx").write_bytes((tmp_path / "tiny.onnx").read_bytes()[:-50])
    names = {"graph": graph_file, "flat": tmp_path / "flat.npy", "torn": tmp_path / "torn.onnx"}
    out = tmp_path / "out"
    result = skerry("model", "export", *(word.format(**names) for word in arguments), "--out", out)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.replace("│", " ").split())
    assert not out.exists()


@pytest.fixture
def delivered(prepared_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A run that has delivered the head it began with."""
    from skerry.device.local_model import load_local_model
    from skerry.device.tasks.registry import load_task
    from skerry.runfolder import RunFolder

    monkeypatch.setenv("SKERRY_RUNS_DIR", str(tmp_path / "runs"))
    shutil.copytree(prepared_run.path, tmp_path / "runs" / prepared_run.id)
    folder = RunFolder(tmp_path / "runs" / prepared_run.id)
    scenario = folder.scenario
    digest = json.loads((folder.path / "model" / "base.json").read_text())["digest"]
    model = load_local_model(scenario.model, digest, load_task(scenario.task, scenario.model))
    privacy = {"unit": "example", "relation": "add/remove", "delta": 1e-5, "epsilon_rdp": 8.0, "epsilon_pld": 7.4}
    quality = {"measured_on": "devices that never trained", "int8": {"accuracy": 0.8, "loss": 0.7, "ece": 0.1}}
    said = {"run": folder.id, "scenario": "digits", "rounds": 2, "privacy": privacy, "quality": quality}
    model.assemble(model.initial(), folder.path / "model", said)
    return folder


def test_a_run_is_exported_with_what_its_card_promised(skerry, delivered, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--format", "onnx,onnx-int8,safetensors", "--out", out, "--checked", "24", "--json")
    document = json.loads(skerry("model", "export", delivered.id, *words).stdout)
    assert document["privacy"]["statement"].startswith("This model has ε = 7.40 at δ = 1e-5, example level, add/remove")
    assert document["quality"]["int8"]["accuracy"] == 0.8
    assert document["output"]["classes"] == [str(digit) for digit in range(10)]
    assert document["run"] == delivered.id
    assert "minus 127" in document["input"]["normalisation"]
    same = (out / f"{delivered.id}.int8.onnx").read_bytes()
    # eleven of sixteen blocks: 33 convolutions, six additions, the pool, whitening, cut and head
    assert document["files"][f"{delivered.id}.int8.onnx"]["check"]["operations"] == 43

    from skerry.device.model_source import read_onnx

    exported, quantization = read_onnx(out / f"{delivered.id}.int8.onnx")
    shipped, theirs = read_onnx(delivered.path / "model" / "model.int8.onnx")
    assert dict(quantization.tensors) == dict(theirs.tensors)
    assert np.array_equal(exported.nodes[-1].weight, shipped.nodes[-1].weight)
    float_weights = read_onnx(out / f"{delivered.id}.fp32.onnx")[0].nodes[0].weight
    assert not np.array_equal(float_weights, exported.nodes[0].weight), "float is what int8 was made from"
    assert len(same) < (out / f"{delivered.id}.fp32.onnx").stat().st_size / 3


def test_the_card_that_is_delivered_is_the_one_that_is_exported(skerry, delivered) -> None:
    card = json.loads((delivered.path / "model" / "card.json").read_text())
    assert set(card["files"]) == {"model.int8.onnx", "head.safetensors"}
    assert "ε = 7.40 at δ = 1e-5" in (delivered.path / "model" / "card.md").read_text()
    shown = skerry("model", "show", delivered.id)
    assert shown.exit_code == 0, shown.stderr
    assert "7.40" in shown.stdout
