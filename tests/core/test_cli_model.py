"""``skerry model`` measures the very file that was delivered."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from skerry.canonical import sha256_hex
from skerry.device.store import model_store
from skerry.runfolder import RunFolder


@pytest.fixture
def started(prepared_run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A copy of a prepared run, in the default folder of runs."""
    monkeypatch.setenv("SKERRY_RUNS_DIR", str(tmp_path))
    path = tmp_path / prepared_run.id
    shutil.copytree(prepared_run.path, path)
    return RunFolder(path)


def _checkpoint(folder: RunFolder, *, deliver: bool) -> None:
    from skerry.device.local_model import load_local_model
    from skerry.device.tasks.registry import load_task
    from skerry.server.checkpoint import Checkpoint, save_checkpoint
    from skerry.strategies.optimizers import Moments

    scenario = folder.scenario
    task = load_task(scenario.task, scenario.model)
    digest = json.loads((folder.path / "model" / "base.json").read_text())["digest"]
    model = load_local_model(scenario.model, digest, task)
    save_checkpoint(folder, Checkpoint(1, model.initial(), Moments(), {}))
    if deliver:
        model.assemble(model.initial(), folder.path / "model", {"run": folder.id})


def test_build_finds_what_was_built_and_show_tells_it(skerry, started: RunFolder) -> None:
    built = json.loads(skerry("model", "build", "--json").stdout)
    assert built["int8_share"] <= 0.30
    assert json.loads((started.path / "model" / "base.json").read_text())["digest"] == built["digest"]
    assert json.loads(skerry("model", "show", built["digest"][:8], "--json").stdout) == built
    listed = json.loads(skerry("model", "show", "--json").stdout)["bases"]
    assert built in listed
    assert built["digest"][:12] in skerry("model", "show").stdout


def test_a_base_of_another_version_does_not_hide_the_others(skerry, started: RunFolder, tmp_path, monkeypatch) -> None:
    digest = json.loads((started.path / "model" / "base.json").read_text())["digest"]
    store = tmp_path / "home" / "models"
    shutil.copytree(model_store() / digest, store / digest)
    old = json.loads((store / digest / "base.json").read_bytes())
    text = json.dumps({**old, "schema": 1}).encode()
    shutil.copytree(store / digest, store / sha256_hex(text))
    (store / sha256_hex(text) / "base.json").write_bytes(text)
    monkeypatch.setenv("SKERRY_HOME", str(store.parent))
    listed = json.loads(skerry("model", "show", "--json").stdout)
    assert [base["digest"] for base in listed["bases"]] == [digest]
    assert "this version" in listed["unreadable"][sha256_hex(text)]
    one = skerry("model", "show", sha256_hex(text)[:12])
    assert (one.exit_code, "this version" in one.stderr) == (2, True)


def test_there_is_no_base_of_a_network_that_needs_none(skerry) -> None:
    whole = ("model.architecture=cnn", "model.trainable=full", 'privacy.unit="none"')
    result = skerry("model", "build", *(word for key in whole for word in ("--set", key)))
    assert result.exit_code == 2
    assert "no base to build" in result.stderr


def test_a_run_without_a_round_has_no_model_to_measure(skerry, started: RunFolder) -> None:
    assert skerry("model", "evaluate", started.id).exit_code == 2
    assert skerry("model", "show", started.id).exit_code == 2


def test_an_interrupted_run_is_measured_at_its_last_round(skerry, started: RunFolder) -> None:
    _checkpoint(started, deliver=False)
    document = json.loads(skerry("model", "evaluate", started.id, "--no-corruptions", "--json").stdout)
    assert document["round"] == 1
    assert document["models"][0]["name"] == "int8 model"
    assert set(document["devices"]) == {"writer-03", "writer-09", "writer-12"}


def test_what_is_measured_is_the_delivered_file(skerry, started: RunFolder) -> None:
    _checkpoint(started, deliver=True)
    document = json.loads(skerry("model", "evaluate", started.id, "--no-corruptions", "--json").stdout)
    delivered, floating = document["models"]
    assert delivered["name"] == "model.int8.onnx, as delivered"
    assert abs(delivered["accuracy"] - floating["accuracy"]) <= 0.03
    assert document["agreement"] >= 0.9
    assert json.loads(skerry("model", "show", started.id, "--json").stdout)["kind"] == "delivered"

    import onnx

    path = started.path / "model" / "model.int8.onnx"
    model = onnx.load(str(path))
    matrix = next(t for t in model.graph.initializer if t.name == "scores.weight")
    matrix.raw_data = np.zeros(matrix.dims, np.float32).tobytes()
    path.write_bytes(model.SerializeToString())
    spoilt = json.loads(skerry("model", "evaluate", started.id, "--no-corruptions", "--json").stdout)
    assert spoilt["models"][0]["accuracy"] < 0.3
    assert spoilt["models"][1] == floating


def test_all_modes_of_a_float_network_are_those_without_int8(skerry, monkeypatch) -> None:
    from skerry.device import step_cost

    asked: list[str] = []

    def measure(model, task, modes, **_):
        asked.extend(modes)
        return [step_cost.StepCost("full", 1, 4, 1.0, 1.0, 0.0, "here", 0.0)]

    monkeypatch.setattr(step_cost, "measure_modes", measure)
    shown = skerry("model", "show", "ds_cnn", "--set", "model.bits=32")
    assert shown.exit_code == 0, shown.stderr
    assert set(asked) == set(step_cost.MODES) - {"lora", "qat"}
    assert "lora and qat train over int8 weights: left out" in shown.stderr
    asked.clear()
    skerry("model", "show", "ds_cnn")
    assert asked == list(step_cost.MODES)


def test_a_mode_that_cannot_be_measured_is_bad_input(skerry) -> None:
    refused = skerry("model", "show", "ds_cnn", "--mode", "lora", "--set", "model.bits=32")
    assert refused.exit_code == 2
    assert "trains over int8 weights" in refused.stderr
