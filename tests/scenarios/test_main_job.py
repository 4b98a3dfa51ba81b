"""The main job from a scenario to its folder, as a user meets it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skerry.config import default_scenario, parse_scenario
from skerry.device.worker import process_worker
from skerry.errors import InputError, TaskError
from skerry.runfolder import RunFolder, list_runs
from skerry.server.backdoor import backdoor_success, base_digest, head_without_backdoor
from skerry.server.checkpoint import load_checkpoint
from skerry.server.launch import launch

LISTENING = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from skerry.cli import main; main()"
)
"""The command line, although a background job inherits a deaf signal handler."""


def run(parent: Path, *overrides: str) -> RunFolder:
    return launch(default_scenario(overrides), engine="inprocess", parent=parent)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory) -> RunFolder:
    """The default scenario, whole."""
    return run(tmp_path_factory.mktemp("attacked"))


def test_the_default_run_leaves_everything_it_promises(attacked: RunFolder):
    assert attacked.status["state"] == "complete"
    for name in ("scenario.toml", "result.json", "rounds.jsonl", "verdicts.jsonl", "report.html"):
        assert (attacked.path / name).stat().st_size > 0, name
    for pattern in ("ledger/population.jsonl", "ledger/devices/*.jsonl", "model/*.onnx", "release/manifest*"):
        assert list(attacked.path.glob(pattern)), pattern


def test_two_attackers_are_caught_and_nobody_else(attacked: RunFolder):
    defence = attacked.result["defence"]
    assert len(defence["attackers"]) == 2
    assert defence["flagged"] == defence["attackers"] == defence["quarantined"]
    assert defence["false_quarantines"] == 0


def test_the_budget_holds_for_every_device(attacked: RunFolder):
    privacy = attacked.result["privacy"]
    assert privacy["epsilon_pld"] <= privacy["epsilon_rdp"] <= 8.0
    assert (privacy["unit"], privacy["delta"]) == ("example", 1e-5)
    assert "add/remove" in privacy["relation"]
    quarantined = set(attacked.result["defence"]["quarantined"])
    for device, spent in privacy["devices"]["per_device"].items():
        assert spent["rounds"] == attacked.scenario.rounds or device in quarantined


def test_defence_and_training_are_worth_having(attacked: RunFolder):
    quality = attacked.result["quality"]
    assert 1 - quality["final"]["accuracy"] <= 0.6 * (1 - quality["base"]["accuracy"])
    assert quality["final"]["accuracy"] > quality["references"]["undefended"]["accuracy"]
    assert quality["references"]["non_private"]["accuracy"] >= quality["final"]["accuracy"] - 0.02


def test_each_recipient_opens_the_release_and_a_quarantined_device_does_not(attacked: RunFolder, tmp_path: Path):
    from skerry.errors import ReleaseRefusedError
    from skerry.security.delivery import fetch
    from skerry.security.identity import Identity
    from skerry.server.provision import coordinator_public

    quarantined = attacked.result["defence"]["quarantined"]
    devices = attacked.result["privacy"]["devices"]["per_device"]
    honest = next(d for d in devices if d not in quarantined)
    publisher = coordinator_public(attacked)
    me = Identity.load(attacked.path / "fleet" / honest / "identity.json")
    files = fetch(
        attacked.path / "release", tmp_path / "got", device=me, publisher=publisher, state=tmp_path / "state.json"
    )
    assert files
    for name, path in files.items():
        assert path.read_bytes() == (attacked.path / "model" / name).read_bytes()
    outcast = Identity.load(attacked.path / "fleet" / quarantined[0] / "identity.json")
    with pytest.raises(ReleaseRefusedError) as caught:
        fetch(attacked.path / "release", tmp_path / "none", device=outcast, publisher=publisher, state=tmp_path / "s")
    assert caught.value.reason == "not_a_recipient"
    assert not (tmp_path / "none").exists() or not any((tmp_path / "none").iterdir())


def test_the_delivered_file_scores_as_the_result_says(attacked: RunFolder):
    from skerry.device.runtime import OnnxModel
    from skerry.device.worker import process_worker

    scenario = attacked.scenario
    task = process_worker().task(scenario.task, scenario.model)
    model = OnnxModel(next((attacked.path / "model").glob("*.onnx")))
    right = total = 0
    for data in task.evaluation().values():
        right += int((model.run(task.transform(data.x)).argmax(1) == data.y).sum())
        total += len(data)
    assert right / total == pytest.approx(attacked.result["quality"]["final"]["int8"]["accuracy"], abs=0.003)


def test_the_same_seed_gives_the_same_vector_and_another_seed_another(tmp_path: Path):
    vectors = []
    for number, seed in enumerate((3, 3, 4)):
        folder = run(tmp_path / str(number), "rounds=3", f"seed={seed}", "report.references=false")
        vectors.append(load_checkpoint(folder).vector)
    assert np.array_equal(vectors[0], vectors[1])
    assert not np.array_equal(vectors[0], vectors[2])


def test_one_nan_costs_its_device_the_round_and_nobody_else(tmp_path: Path):
    folder = run(tmp_path, "rounds=2", "attack.kind=nan", "defence.aggregator=mean", "report.references=false")
    for record in folder.rounds():
        assert len(record.accepted) == 9
        assert set(record.dropped.values()) <= {"finite", "quarantined"}
        assert np.isfinite(record.loss)


def test_a_backdoor_that_gets_into_a_bare_mean_is_measured_and_the_default_defence_keeps_it_out(tmp_path: Path):
    backdoor = ("attack.kind=backdoor", "attack.devices=3", "privacy.unit=none", "report.references=false")
    bare = run(tmp_path, *backdoor, "defence.aggregator=mean", "defence.tolerate=0", 'defence.screen=["finite"]')
    defended = run(tmp_path, *backdoor, "defence.tolerate=3")
    told, kept_out = bare.result["defence"], defended.result["defence"]
    assert told["backdoor_success"] > told["backdoor_success_base"] + 0.2
    assert kept_out["backdoor_success"] < told["backdoor_success"] / 2
    trained, cleaned = load_checkpoint(bare).vector, head_without_backdoor(bare)
    left, accuracy = tried(bare, cleaned)
    assert tried(bare, trained)[0] == pytest.approx(told["backdoor_success"])
    assert left < 0.1
    assert accuracy > tried(bare, trained)[1] - 0.02


def tried(folder: RunFolder, head: np.ndarray) -> tuple[float | None, float]:
    """How often a head's trigger works on held-out writers, and its accuracy on them."""
    scenario, worker = folder.scenario, process_worker()
    task = worker.task(scenario.task, scenario.model)
    model = worker.model(scenario.model, base_digest(folder), task)
    right = [model.logits(head, model.prepare(d.x)).argmax(1) == d.y for d in task.evaluation().values()]
    return backdoor_success(scenario, task, model, head), float(np.concatenate(right).mean())


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_what_was_finished_and_says_so(tmp_path: Path, signal_number):
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            LISTENING,
            "run",
            str(scenario_file(tmp_path, rounds=5000)),
            "--runs-dir",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "100"},
    )
    try:
        end = time.monotonic() + 180
        while not list(tmp_path.glob("*/rounds.jsonl")) and time.monotonic() < end:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal_number)
        _, stderr = process.communicate(timeout=180)
    finally:
        process.kill()
    folder = list_runs(tmp_path)[0]
    assert process.returncode == 1
    assert "what was finished is kept" in stderr
    assert "Traceback" not in stderr
    assert folder.status["state"] == "interrupted"
    assert folder.rounds()
    assert load_checkpoint(folder).round == folder.rounds()[-1].round
    shown = subprocess.run(
        [sys.executable, "-m", "skerry.cli", "runs", "show", folder.id, "--runs-dir", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert "interrupted" in shown.stdout


def scenario_file(folder: Path, **top: object) -> Path:
    path = folder / "scenario.toml"
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in top.items()))
    return path


def test_bad_data_leaves_no_run_behind(tmp_path: Path):
    scenario = parse_scenario(f'name = "mine"\n[task]\nname = "image-folder"\nroot = "{tmp_path / "missing"}"\n')
    with pytest.raises(TaskError):
        launch(scenario, engine="inprocess", parent=tmp_path / "runs")
    assert not list((tmp_path / "runs").iterdir())


def test_a_picture_that_cannot_be_read_is_named_before_anything_runs(tmp_path: Path):
    pictures = tmp_path / "pictures"
    for device in ("anna", "ben", "cem"):
        for name in ("cat", "dog"):
            path = pictures / device / name / "0.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(path)
    scenario = parse_scenario(
        f'name = "mine"\n[task]\nname = "image-folder"\nroot = "{pictures}"\nholdout = "cem"\n'
        "[attack]\ndevices = 0\n[defence]\ntolerate = 0\n"
    )
    broken = pictures / "ben" / "dog" / "0.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(TaskError) as caught:
        launch(scenario, engine="inprocess", parent=tmp_path / "runs")
    assert caught.value.where == str(broken)
    assert not list((tmp_path / "runs").iterdir())


def test_a_rule_that_cannot_tolerate_so_many_is_refused_before_anything_runs(tmp_path: Path):
    with pytest.raises(InputError, match="at least"):
        run(
            tmp_path,
            "defence.tolerate=5",
            "defence.aggregator=nnm+trimmed_mean",
            "cohort.sampling=fixed",
            "cohort.size=6",
        )
    assert not list_runs(tmp_path)


def test_a_cohort_of_fixed_size_is_drawn_anew_each_round(tmp_path: Path):
    folder = run(
        tmp_path, "rounds=4", "cohort.sampling=fixed", "cohort.size=5", "attack.devices=0", "defence.tolerate=1",
        "report.references=false",
    )  # fmt: skip
    cohorts = {record.accepted for record in folder.rounds()}
    assert all(len(cohort) == 5 for cohort in cohorts)
    assert len(cohorts) > 1
    shutil.rmtree(folder.path)
