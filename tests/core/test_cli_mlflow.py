"""``skerry run --mlflow`` and ``skerry runs log-mlflow``: a run is brought to MLflow, and never fails for it."""

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from skerry.cli import tracking
from skerry.cli.tracking import Tracker, chosen_log
from skerry.runfolder import RunFolder, list_runs
from skerry.server.mlflow_log import MlflowLog
from tests._mlflow import copy_of, only_run

SHORT = ["demo", "--mlflow", "--json", "--set", "rounds=1", "--set", "report.references=false"]


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command adds to the environment goes with the test."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "environ", os.environ.copy())


@pytest.fixture
def store(empty_mlflow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    uri = copy_of(empty_mlflow, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


def test_a_finished_run_is_logged_and_its_number_told(skerry, store: str, run: Path) -> None:
    document = json.loads(skerry("runs", "log-mlflow", "latest", "--json").stdout)
    _, found = only_run(store, "digits")
    assert document == {"run": run.name, "mlflow_run": found.info.run_id, "rounds": 20, "state": "complete"}
    assert found.info.run_id in skerry("runs", "log-mlflow", run.name).stdout


def test_the_experiment_may_be_named(skerry, store: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "harbour")
    assert skerry("runs", "log-mlflow", "latest").exit_code == 0
    assert only_run(store, "harbour")[1].info.run_name == run.name


@pytest.mark.parametrize("command", [["runs", "log-mlflow", "latest"], SHORT])
def test_what_is_missing_is_told_before_anything_runs(
    skerry, run: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    nowhere = skerry(*command)
    assert (nowhere.exit_code, "MLFLOW_TRACKING_URI" in nowhere.stderr) == (2, True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///unused.db")
    monkeypatch.delitem(sys.modules, "skerry.server.mlflow_log", raising=False)
    monkeypatch.setitem(sys.modules, "mlflow.entities", None)
    without = skerry(*command)
    assert (without.exit_code, "pip install 'skerry[mlflow]'" in without.stderr) == (2, True)
    assert [folder.id for folder in list_runs(run.parent)] == [run.name]


def test_a_server_that_is_away_is_exit_code_1(skerry, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    result = skerry("runs", "log-mlflow", "latest")
    assert result.exit_code == 1
    assert "MLflow did not take the run" in result.stderr


def test_a_run_is_there_when_it_is_over_and_standard_output_is_its_result(skerry, store: str, tmp_path: Path) -> None:
    result = skerry(*SHORT, "--runs-dir", tmp_path / "runs")
    assert result.exit_code == 0, result.stderr
    (folder,) = list_runs(tmp_path / "runs")
    assert json.loads(result.stdout)["run"]["id"] == folder.id
    client, found = only_run(store, "digits")
    assert (found.info.run_name, found.info.status, found.data.metrics["round"]) == (folder.id, "FINISHED", 1)
    assert "report.html" in {one.path for one in client.list_artifacts(found.info.run_id)}
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_a_run_whose_server_is_away_ends_well_and_says_at_the_end_how_to_log_it(
    skerry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(tracking, "_EVERY_S", 0.01)  # the run may be over within a second
    result = skerry(*SHORT, "--runs-dir", tmp_path / "runs")
    assert result.exit_code == 0
    (folder,) = list_runs(tmp_path / "runs")
    assert json.loads(result.stdout)["run"]["state"] == folder.state == "complete"
    assert result.stderr.count("the run goes on, and this is tried again") == 1
    assert result.stderr.rstrip().endswith(f"later: `skerry runs log-mlflow {folder.id}`")


def test_a_server_that_says_nothing_does_not_hold_a_run_s_end(
    sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sample.build(tmp_path / "runs", state="interrupted", rounds_done=2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3600")
        with Tracker(chosen_log(), patience_s=0.2) as tracker:
            tracker.watch(folder)
    told = capsys.readouterr().err
    assert told == f"MLflow does not answer; later: `skerry runs log-mlflow {folder.id}`\n"


def test_what_failed_while_a_run_went_on_is_not_tried_again_when_it_ends(
    sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    class Counted(MlflowLog):
        def bring(self, folder: RunFolder) -> str:
            tries.append(folder.id)
            return super().bring(folder)

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    folder = sample.build(tmp_path / "runs", state="interrupted", rounds_done=2)
    with Tracker(Counted("http://127.0.0.1:9")) as tracker:
        tracker.watch(folder)
        eventually(lambda: bool(tries))
    assert tries == [folder.id]


def test_rounds_are_there_while_the_run_goes_on(store: str, sample, tmp_path: Path) -> None:
    folder = sample.build(tmp_path / "runs", state="interrupted", rounds_done=2)
    folder.mark("running", extra={"pid": os.getpid()})
    line = json.loads((folder.path / "rounds.jsonl").read_text().splitlines()[-1])

    def rounds() -> float:
        return only_run(store, "digits")[1].data.metrics.get("round", 0)

    with Tracker(chosen_log()) as tracker:
        tracker.watch(folder)
        eventually(lambda: _logged(store) and rounds() == 2)
        with (folder.path / "rounds.jsonl").open("a") as file:
            file.write(json.dumps({**line, "round": 3}) + "\n")
        eventually(lambda: rounds() == 3)
        assert only_run(store, "digits")[1].info.status == "RUNNING"
        folder.mark("interrupted")
    assert only_run(store, "digits")[1].info.status == "KILLED"


def _logged(store: str) -> bool:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("digits")
    return experiment is not None and bool(client.search_runs([experiment.experiment_id]))


def eventually(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)
