"""A run's folder can be read at any moment, also after a crash."""

from pathlib import Path

import pytest

from skerry.config import default_scenario
from skerry.errors import InputError
from skerry.runfolder import RunFolder, list_runs, runs_dir


def make(parent: Path) -> RunFolder:
    return RunFolder.create(parent, default_scenario(["seed=5"]), engine="inprocess")


def test_a_new_run_keeps_its_scenario_and_says_that_it_is_preparing(tmp_path):
    folder = make(tmp_path)
    assert folder.scenario.seed == 5
    assert folder.status["state"] == "preparing"
    assert folder.result is None


def test_marks_keep_what_was_known(tmp_path):
    folder = make(tmp_path)
    folder.mark("running", stage="round 1", extra={"base_accuracy": 0.5})
    folder.mark("failed", error={"what": "x", "where": None, "mend": None})
    status = folder.status
    assert (status["state"], status["base_accuracy"], status["error"]["what"]) == ("failed", 0.5, "x")


def test_a_torn_last_line_is_left_out(tmp_path):
    folder = make(tmp_path)
    (folder.path / "verdicts.jsonl").write_bytes(b'{"round": 1}\n{"rou')
    assert list(folder.lines("verdicts.jsonl")) == [{"round": 1}]


def test_runs_are_found_by_id_path_and_latest(tmp_path):
    first, second = make(tmp_path), make(tmp_path)
    assert RunFolder.open(first.id, tmp_path).path == first.path
    assert RunFolder.open(str(second.path), tmp_path / "elsewhere").path == second.path
    assert RunFolder.open("latest", tmp_path).id in {first.id, second.id}
    assert {run.id for run in list_runs(tmp_path)} == {first.id, second.id}


def test_a_run_that_somebody_renamed_is_found_by_the_name_under_which_it_is_listed(tmp_path):
    renamed = make(tmp_path).path.rename(tmp_path / "digits [old] (copy) é")
    assert [run.id for run in list_runs(tmp_path)] == [renamed.name]
    assert RunFolder.open(renamed.name, tmp_path).path == renamed


def test_a_missing_run_names_the_newest(tmp_path):
    folder = make(tmp_path)
    with pytest.raises(InputError) as caught:
        RunFolder.open("nothing", tmp_path)
    assert folder.id in (caught.value.mend or "")
    with pytest.raises(InputError, match="no runs"):
        RunFolder.open("latest", tmp_path / "empty")


def test_where_runs_lie(tmp_path, monkeypatch):
    monkeypatch.setenv("SKERRY_RUNS_DIR", str(tmp_path / "a"))
    assert runs_dir() == tmp_path / "a"
    assert runs_dir(tmp_path / "b") == tmp_path / "b"


@pytest.mark.parametrize("damage", [b"{", b"[]", b'{"state": "complete"}', b"\xff\xfe"])
def test_a_damaged_status_is_said_of_its_file(tmp_path, damage):
    folder = make(tmp_path)
    (folder.path / "status.json").write_bytes(damage)
    with pytest.raises(InputError, match="cannot be read") as caught:
        _ = folder.status
    assert caught.value.where == str(folder.path / "status.json")


@pytest.mark.parametrize("name", ["rounds.jsonl", "notices.jsonl"])
@pytest.mark.parametrize("damage", [b"nonsense\n", b"[1]\n", b'{"round": 1}\n', b"\xff\n"])
def test_a_damaged_line_is_said_of_its_file(tmp_path, name, damage):
    folder = make(tmp_path)
    (folder.path / name).write_bytes(damage)
    with pytest.raises(InputError, match="cannot be read") as caught:
        _ = folder.rounds(), folder.notices
    assert caught.value.where == str(folder.path / name)
