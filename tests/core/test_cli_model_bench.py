"""``skerry model bench`` as a user meets it."""

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import psutil
import pytest

from skerry.device.compression.graph_file import save_graph
from skerry.device.compression.onnx_export import to_onnx

QUICK = ("--inferences", "20", "--cold-starts", "1", "--seconds", "0.5")


@pytest.fixture
def model(tiny_graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small network's graph file, beside its ONNX file."""
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "home"))
    save_graph(tiny_graph, tmp_path / "tiny.safetensors")
    (tmp_path / "tiny.onnx").write_bytes(to_onnx(tiny_graph).SerializeToString())
    return tmp_path / "tiny.safetensors"


def test_one_document_says_what_was_measured_on_what(skerry, model: Path, tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    wanted = "idle,quota25,sustained"
    result = skerry(
        "model",
        "bench",
        model,
        "--conditions",
        wanted,
        "--runtime",
        "onnxruntime",
        *QUICK,
        "--plot",
        plot,
        "--save-profile",
        "here",
        "--json",
    )
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert [(m["precision"], m["condition"]) for m in document["measurements"]] == [
        (precision, condition) for precision in ("fp32", "int8") for condition in wanted.split(",")
    ]
    assert document["model"]["input_shape"] == [3, 16, 16]
    assert document["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert document["measurements"][1]["how"]
    texts = "".join(ET.fromstring(plot.read_text()).itertext())
    assert "quota25 · onnxruntime int8" in texts
    assert "without a pause" in texts
    saved = json.loads(Path(document["saved"]).read_text())
    assert saved["measurements"] == document["measurements"]

    shown = skerry("model", "bench", "--load-profile", "here", "--compare", "here")
    assert shown.exit_code == 0, shown.stderr
    assert "quota25" in shown.stdout
    assert "1.00" in shown.stdout
    assert "█" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["{model}", "--conditions", "idel"], "did you mean 'idle'"),
        (["{model}", "--threads", "0"], "list of thread counts"),
        (["{model}", "--runtime", "tvm"], "'tvm' is not known"),
        (["{model}", "--precision", "int4"], "'int4' is not known"),
        (["{model}", "--compare", "nobody"], "there is no profile"),
        (["{model}", "--load-profile", "x"], "name either"),
        ([], "name either"),
        (["nothing-of-this-name"], "no file, network, base or run"),
        (["absent.onnx"], "no such file"),
        (["{torn}"], "cannot read the model"),
        (["{notes}"], "no model that skerry reads"),
        (["{tensors}"], "cannot read this graph"),
    ],
)
def test_bad_input_is_one_clear_message(skerry, model: Path, tmp_path: Path, arguments, told) -> None:
    names = {"model": model, "torn": tmp_path / "torn.onnx", "notes": tmp_path / "notes.txt"}
    names["tensors"] = tmp_path / "torn.safetensors"
    names["torn"].write_bytes((tmp_path / "tiny.onnx").read_bytes()[:300])
    names["notes"].write_text("no model")
    names["tensors"].write_bytes(model.read_bytes()[:300])
    result = skerry("model", "bench", *(word.format(**names) for word in arguments))
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.stderr


def test_ctrl_c_leaves_nothing_behind(model: Path) -> None:
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "  # one may be deaf
    listening += "from skerry.cli import main; main()"
    command = [sys.executable, "-c", listening, "model", "bench", str(model), "--conditions", "sustained,burn"]
    process = subprocess.Popen(
        [*command, "--seconds", "600", "--runtime", "onnxruntime"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    started: list[psutil.Process] = []
    for _ in range(3600):
        started = psutil.Process(process.pid).children(recursive=True)
        if started:
            break
        time.sleep(0.05)
    time.sleep(1.0)
    os.kill(process.pid, signal.SIGINT)
    try:
        _, said = process.communicate(timeout=180)
    except subprocess.TimeoutExpired:
        for left in started:
            left.kill()
        process.kill()
        raise
    assert process.returncode == 1
    assert b"stopped by Ctrl-C" in said
    assert started
    assert not any(p.is_running() for p in started)
