"""A run is brought to a real store of MLflow as often as one likes: all of it, each thing once."""

import json
import shutil
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from skerry.errors import NotTrackedError
from skerry.runfolder import RunFolder
from skerry.server.mlflow_log import MlflowLog
from skerry.server.report import write_report
from tests._device_level import POISSON
from tests._mlflow import copy_of, only_run

OFTEN = (*POISSON, "cohort.rate=0.9", "privacy.denominator=10")
METRICS = {"accuracy", "epsilon", "accepted", "flagged", "dropped", "bytes_up", "bytes_down", "seconds", "round"}


@pytest.fixture
def store(empty_mlflow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return copy_of(empty_mlflow, tmp_path)


def test_a_finished_run_is_there_with_parameters_metrics_tags_and_artefacts(
    store: str, finished: Path, tmp_path: Path
) -> None:
    folder = RunFolder(Path(shutil.copytree(finished, tmp_path / "runs" / finished.name)))
    write_report(folder)
    identifier = MlflowLog(store).bring(folder)
    client, found = only_run(store, folder.scenario.name)
    assert (found.info.run_id, found.info.run_name, found.info.status) == (identifier, folder.id, "FINISHED")
    assert found.data.params["privacy.epsilon"] == str(folder.scenario.privacy.epsilon)
    assert found.data.params["defence.aggregator"] == folder.scenario.defence.aggregator
    assert found.data.metrics.keys() == METRICS
    for name, value in (
        ("accuracy", lambda record: record.accuracy),
        ("epsilon", lambda record: record.epsilon_max),
        ("accepted", lambda record: len(record.accepted)),
        ("dropped", lambda record: len(record.dropped)),
        ("bytes_up", lambda record: record.bytes_up),
    ):
        history = client.get_metric_history(identifier, name)
        told = [(one.step, one.value, one.timestamp) for one in sorted(history, key=lambda one: one.step)]
        assert told == [(one.round, value(one), one.finished_ms) for one in folder.rounds()], name
    tags = found.data.tags
    assert (tags["skerry.privacy.unit"], tags["skerry.privacy.relation"]) == ("example", "add/remove")
    assert float(tags["skerry.privacy.delta"]) == folder.scenario.privacy.delta
    assert tags["skerry.vector_digest"] == folder.rounds()[-1].vector_digest
    for name in ("report.html", "scenario.toml"):
        got = client.download_artifacts(identifier, name, str(tmp_path))
        assert Path(got).read_bytes() == (folder.path / name).read_bytes()
    digest = Path(client.download_artifacts(identifier, "vector.sha256", str(tmp_path))).read_text()
    assert digest == folder.rounds()[-1].vector_digest + "\n"
    assert {one.path for one in client.list_artifacts(identifier)} == {"report.html", "scenario.toml", "vector.sha256"}
    assert (tmp_path / "mlartifacts" / identifier / "artifacts" / "report.html").is_file()  # beside the database
    assert list(Path.cwd().iterdir()) == []


def test_what_is_there_is_not_logged_twice_and_what_is_new_is_added(store: str, sample, tmp_path: Path) -> None:
    folder = sample.build(tmp_path / "runs", state="interrupted", rounds_done=3)
    first = MlflowLog(store).bring(folder)
    assert MlflowLog(store).bring(folder) == first
    client, found = only_run(store, folder.scenario.name)
    assert found.info.status == "KILLED"
    assert [one.step for one in client.get_metric_history(first, "accuracy")] == [1, 2, 3]
    told = [json.loads(line) for line in (folder.path / "rounds.jsonl").read_text().splitlines()]
    (folder.path / "rounds.jsonl").write_text("".join(json.dumps({**one, "accuracy": 0.1}) + "\n" for one in told))
    line = (folder.path / "rounds.jsonl").read_text().splitlines()[-1]
    with (folder.path / "rounds.jsonl").open("a") as file:
        file.write(json.dumps({**json.loads(line), "round": 4, "accuracy": 0.5}) + "\n")
    folder.mark("running", extra={"pid": 1})  # it goes on
    assert MlflowLog(store).bring(folder) == first
    client, found = only_run(store, folder.scenario.name)
    assert found.info.status == "RUNNING"
    assert [one.step for one in client.get_metric_history(first, "accuracy")] == [1, 2, 3, 4]
    assert found.data.metrics["accuracy"] == 0.5
    assert client.list_artifacts(first) != []


def test_a_run_without_privacy_has_no_epsilon(store: str, sample, tmp_path: Path) -> None:
    folder = sample.build(tmp_path / "runs", state="interrupted", rounds_done=2)
    scenario = folder.path / "scenario.toml"
    scenario.write_text(scenario.read_text().replace('unit = "example"', 'unit = "none"'))
    MlflowLog(store, "elsewhere").bring(folder)
    _, found = only_run(store, "elsewhere")
    assert found.data.metrics.keys() == METRICS - {"epsilon"}
    assert found.data.tags["skerry.privacy.unit"] == "none"
    assert not {"skerry.privacy.delta", "skerry.privacy.relation"} & found.data.tags.keys()


@pytest.mark.parametrize(
    ("place", "mend"), [("s3://bucket/x", "pip install boto3"), ("file:///proc/nowhere", "skerry runs log-mlflow")]
)
def test_a_run_whose_artefacts_find_no_store_is_over_all_the_same(
    store: str, sample, tmp_path: Path, place: str, mend: str
) -> None:
    client = MlflowClient(tracking_uri=store)
    client.create_experiment("away", artifact_location=place)
    folder = sample.build(tmp_path / "runs", state="complete", rounds_done=2)
    with pytest.raises(NotTrackedError) as failed:
        MlflowLog(store, "away").bring(folder)
    assert "artefact store" in failed.value.what
    assert mend in failed.value.mend
    _, found = only_run(store, "away")
    assert (found.info.status, found.data.metrics["round"]) == ("FINISHED", 2)


def test_under_poisson_sampling_mlflow_is_not_told_who_was_asked(store: str, sample, tmp_path: Path) -> None:
    folder = sample.build(tmp_path / "runs", OFTEN, state="complete", rounds_done=2)
    asked = {device for record in folder.rounds() for device in record.accepted}
    (folder.path / "report.html").write_text(" ".join(asked))
    identifier = MlflowLog(store).bring(folder)
    client, found = only_run(store, folder.scenario.name)
    assert asked
    assert {one.path for one in client.list_artifacts(identifier)} == {"scenario.toml", "vector.sha256"}
    assert found.data.metrics.keys() == {"accuracy", "epsilon", "round"}  # how many were drawn tells of the draw
    told = json.dumps([found.data.params, found.data.tags])
    assert not [device for device in asked if device in told]


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("http://ann:secret@127.0.0.1:9", "http://127.0.0.1:9"),
        (f"http://ann:{'secret' * 50}@127.0.0.1:9", "http://127.0.0.1:9"),
        ("http://ann:sec/secret#secret@127.0.0.1:9", "http://127.0.0.1:9"),
        ("sqlite:////etc/hostname", "sqlite:////etc/hostname"),
        ("nonsense://host", "nonsense://host"),
    ],
)
def test_a_store_that_is_not_there_is_one_error_without_its_password(
    finished: Path, monkeypatch: pytest.MonkeyPatch, uri: str, told: str
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(NotTrackedError) as failed:
        MlflowLog(uri).bring(RunFolder(finished))
    assert failed.value.where == told
    assert "secret" not in failed.value.diagnostics().what
    assert f"skerry runs log-mlflow {finished.name}" in failed.value.mend


@pytest.mark.parametrize("token", ["secret-of-a-file\n", "sec\\secret'ü\n"])
def test_a_token_that_no_header_can_hold_is_quoted_in_no_message(
    finished: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    """The library below tells the whole header that it refuses."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", token)
    with pytest.raises(NotTrackedError) as failed:
        MlflowLog("http://127.0.0.1:9").bring(RunFolder(finished))
    assert "header" in failed.value.what
    assert "sec" not in failed.value.what


def test_a_password_is_in_no_message_however_it_is_written() -> None:
    log = MlflowLog("mysql://ann:sec%2Fret@127.0.0.1:9/runs")
    assert log.told(ValueError("who is ann with sec/ret, of sec%2Fret?")) == "who is ann with ***, of ***?"
