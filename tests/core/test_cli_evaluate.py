"""``skerry model evaluate`` on files and runs: what it measures, writes and refuses."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from skerry.config import ModelConfig, TaskConfig
from skerry.device.tasks.metrics import evaluate
from skerry.device.tasks.watch import WatchTask
from skerry.records import Examples

WATCH = ("--set", "task.name=watch", "--set", "task.holdout=0", "--set", "task.stride=128")


@pytest.fixture(scope="module")
def graph_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DS-CNN for watch windows with the weights that it is born with."""
    from skerry.device.compression.graph_file import save_graph
    from skerry.device.compression.trace import trace
    from skerry.device.models import build_network
    from skerry.device.models.folding import fold_norms

    network = build_network("ds_cnn", inputs=(6, 1, 128), classes=7, width=0.25, seed=1).eval()
    path = tmp_path_factory.mktemp("graph") / "watch.safetensors"
    save_graph(trace(fold_norms(network), (6, 1, 128)), path)
    return path


@pytest.fixture(scope="module")
def onnx_file(graph_file: Path) -> Path:
    from skerry.device.compression.graph_file import load_graph
    from skerry.device.compression.onnx_export import to_onnx

    path = graph_file.with_name("watch.onnx")
    path.write_bytes(to_onnx(load_graph(graph_file)).SerializeToString())
    return path


def test_a_graph_is_measured_in_int8_and_float_under_everything(skerry, graph_file: Path, onnx_file: Path, tmp_path):
    from skerry.device.runtime import OnnxModel

    page = tmp_path / "page.html"
    done = skerry("model", "evaluate", graph_file, *WATCH, "--sample", "12", "--ood", "watch", "--html", page, "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert [one["kind"] for one in document["models"]] == ["int8", "float"]
    assert [one["name"] for one in document["models"]] == ["watch.safetensors, int8", "watch.safetensors, fp32"]
    for one in document["models"]:
        assert len(one["corruptions"]) == 10
        assert all(len(curve) == 5 for curve in one["corruptions"].values())
        assert set(one["strangers"]) == {"msp", "energy"}
        assert set(one["per_device"]) == {"p10", "p50", "p90"}
        assert len(one["reliability"]) == 15
    task = WatchTask(TaskConfig(name="watch", holdout=0, stride=128), ModelConfig())
    data = Examples.concatenate(list(task.evaluation().values()))
    direct = evaluate(OnnxModel(onnx_file).run(task.transform(data.x)), data.y)
    measured = document["models"][1]
    assert (measured["accuracy"], measured["loss"], measured["ece"]) == pytest.approx(
        (direct.accuracy, direct.loss, direct.ece), abs=1e-6
    )
    assert document["examples"] == len(data)
    assert document["html"] == str(page)

    text = page.read_text()
    links = re.findall(r"(?:src|href)\s*=\s*[\"']?([^\"'>\s]*)", text)
    assert all(link.startswith("#") for link in links)  # nothing is loaded
    assert text.count("<figure") == 4
    assert "watch.safetensors, int8" in text


def test_files_are_measured_beside_each_other_and_a_person_gets_tables(skerry, onnx_file: Path):
    done = skerry("model", "evaluate", onnx_file, "--beside", onnx_file, *WATCH, "--sample", "5")
    assert done.exit_code == 0, done.stderr
    for said in ("accuracy by device, p10", "time warp", "the first two agree", "100.0 %", "subject-01"):
        assert said in done.stdout
    assert "float: held out" in done.stderr


def test_models_are_attacked_where_asked_int8_through_its_rounding(skerry, graph_file: Path):
    words = ("model", "evaluate", graph_file, *WATCH, "--no-corruptions", "--sample", "30", "--adversarial", "0.2")
    done = skerry(*words, "--norm", "l2", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["sample"] == 30
    for one in document["models"]:
        found = one["robustness"]
        assert set(found["attacks"]) == {"PGD-20", "PGD-50 × 5"}
        assert (found["norm"], found["epsilon"], found["examples"]) == ("l2", 0.2, 30)
        assert found["worst"] <= found["clean"]
        assert found["twin"] > 0.9  # a twin that is none would follow other gradients than the model's
    done = skerry(*words)
    assert done.exit_code == 0, done.stderr
    assert "accuracy under PGD-20" in done.stdout


@pytest.mark.parametrize("wrong", [("--adversarial", "0"), ("--adversarial", "nan"), ("--autoattack",)])
def test_attacks_that_are_none_are_refused(skerry, onnx_file: Path, wrong):
    done = skerry("model", "evaluate", onnx_file, *WATCH, "--no-corruptions", *wrong)
    assert done.exit_code == 2
    assert "--a" in done.stderr


def test_a_page_escapes_what_a_user_named(skerry, onnx_file: Path, tmp_path):
    hostile = tmp_path / "<img src=x>.onnx"
    hostile.write_bytes(onnx_file.read_bytes())
    page = tmp_path / "page.html"
    done = skerry("model", "evaluate", hostile, *WATCH, "--no-corruptions", "--html", page)
    assert done.exit_code == 0, done.stderr
    assert "<img" not in page.read_text()
    assert "&lt;img src=x&gt;" in page.read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "the network takes inputs of 6×1×128, and the task digits gives 3×64×64"),
        ((*WATCH, "--set", "task.window=64"), "the task watch gives 6×1×64"),
        ((*WATCH, "--ood", "digits"), "cannot be given to a network"),
        ((*WATCH, "--ood", "digit"), "there is no task 'digit'"),
        ((*WATCH, "--temperature", "public"), "no labelled public examples"),
        ((*WATCH, "--beside", "nothing.onnx"), "no such file"),
    ],
)
def test_what_cannot_be_measured_is_explained(skerry, onnx_file: Path, tmp_path, options, said):
    page = tmp_path / "page.html"
    done = skerry("model", "evaluate", onnx_file, *options, "--html", page)
    assert done.exit_code == 2
    assert said in " ".join(re.sub("[│╭╮╰╯─]", "", done.stderr).split())
    assert not page.exists()


def test_a_damaged_file_is_named(skerry, onnx_file: Path, tmp_path):
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(onnx_file.read_bytes()[:2000])
    done = skerry("model", "evaluate", cut, *WATCH)
    assert done.exit_code == 2
    assert "cut.onnx" in done.stderr


def test_a_network_for_other_classes_is_refused(skerry, tmp_path):
    from skerry.device.compression.graph_file import save_graph
    from skerry.device.compression.trace import trace
    from skerry.device.models import build_network
    from skerry.device.models.folding import fold_norms

    network = build_network("ds_cnn", inputs=(6, 1, 128), classes=3, width=0.25).eval()
    path = tmp_path / "three.safetensors"
    save_graph(trace(fold_norms(network), (6, 1, 128)), path)
    done = skerry("model", "evaluate", path, *WATCH)
    assert done.exit_code == 2
    assert "7 classes" in done.stderr


def test_a_run_is_measured_on_its_own_task_only(skerry, run: Path):
    done = skerry("model", "evaluate", run.name, "--set", "task.holdout=1")
    assert done.exit_code == 2
    assert "belong to files" in done.stderr


def test_scaled_figures_differ_only_in_confidence(skerry, onnx_file: Path):
    done = skerry("model", "evaluate", onnx_file, *WATCH, "--no-corruptions", "--json")
    (one,) = json.loads(done.stdout)["models"]
    assert one["calibrated"]["loss"] <= one["loss"] + 0.05
    assert sum(part["count"] for part in one["calibrated"]["reliability"]) == sum(
        part["count"] for part in one["reliability"]
    )
    assert np.isfinite(one["calibrated"]["temperature"])
