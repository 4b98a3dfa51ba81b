"""``skerry runs`` and ``skerry report``: every run can be shown, whatever became of it."""

import json
import shutil
from pathlib import Path

import pytest


def test_list_names_each_run_with_its_state_and_qualified_epsilon(skerry, run: Path) -> None:
    shown, document = skerry("runs", "list").stdout, json.loads(skerry("runs", "list", "--json").stdout)
    assert run.name in shown
    assert "RDP under add/remove" in shown
    row = document["runs"][0]
    assert (row["state"], row["rounds_done"], row["rounds"]) == ("complete", 20, 20)
    assert (row["unit"], row["relation"], row["delta"]) == ("example", "add/remove", 1e-5)
    assert 7.9 < row["epsilon_rdp"] <= 8


def test_list_breaks_no_word_on_a_terminal_of_eighty_columns(skerry, sample, run: Path, monkeypatch) -> None:
    sample.build(run.parent, ("rounds=1000",), state="interrupted", rounds_done=100)
    monkeypatch.setenv("COLUMNS", "80")
    lines = skerry("runs", "list").stdout.splitlines()
    assert lines[1].split() == ["run", "state", "rounds", "accuracy", "ε", "δ", "unit"]
    assert {line.split()[1] for line in lines[2:4]} == {"complete", "interrupted"}
    assert len(lines) == 5


def test_list_of_nothing_says_how_to_begin(skerry, tmp_path: Path) -> None:
    result = skerry("runs", "list", "--runs-dir", tmp_path)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "skerry demo" in result.stderr


def test_a_run_that_cannot_be_read_does_not_hide_the_others(skerry, run: Path) -> None:
    old = run.parent / "old"
    shutil.copytree(run, old)
    (old / "scenario.toml").write_text("retired_key = 1\n")
    rows = json.loads(skerry("runs", "list", "--json").stdout)["runs"]
    assert {row["id"]: row["state"] for row in rows} == {run.name: "complete", "old": "unreadable"}
    shown = skerry("runs", "list")
    assert shown.exit_code == 0
    assert run.name in shown.stdout


@pytest.mark.parametrize("state", ["interrupted", "failed"])
def test_show_of_an_unfinished_run_says_so_and_shows_what_is_kept(skerry, sample, tmp_path: Path, state: str) -> None:
    folder = sample.build(tmp_path, state=state, rounds_done=4)
    result = skerry("runs", "show", "latest", "--runs-dir", tmp_path)
    assert result.exit_code == 0
    assert f"{state} after 4 of 20 rounds" in result.stdout
    assert "δ = 1e-5, example level, add/remove" in result.stdout
    assert ("the disk is full" in result.stdout) == (state == "failed")
    document = json.loads(skerry("runs", "show", folder.id, "--runs-dir", tmp_path, "--json").stdout)
    assert document["result"] is None
    assert document["state"] == state


def test_a_run_whose_process_is_gone_was_interrupted(skerry, sample, tmp_path: Path) -> None:
    folder = sample.build(tmp_path, state="running", rounds_done=2)
    assert folder.state == "running"
    status = folder.path / "status.json"
    status.write_text(json.dumps(json.loads(status.read_text()) | {"pid": 2**22 + 1}))
    assert folder.state == "interrupted"
    assert "interrupted after 2 of 20 rounds" in skerry("runs", "show", folder.path).stdout


def test_open_prints_the_path_where_there_is_no_browser(skerry, run: Path, monkeypatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    result = skerry("runs", "open", run.name)
    assert result.stdout.strip() == str(run / "report.html")
    assert (run / "report.html").is_file()


def test_open_uses_the_browser_where_there_is_one(skerry, run: Path, monkeypatch) -> None:
    asked: list[str] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("webbrowser.open", lambda url: asked.append(url) or True)
    result = skerry("runs", "open", run.name)
    assert asked == [(run / "report.html").as_uri()]
    assert result.stdout == ""


def test_compare_shows_settings_and_figures_that_differ(skerry, run: Path) -> None:
    other = run.parent / "other"
    shutil.copytree(run, other)
    scenario = other / "scenario.toml"
    scenario.write_text(scenario.read_text().replace("rounds = 20", "rounds = 10"))
    result = json.loads((other / "result.json").read_text())
    result["quality"]["final"]["accuracy"] -= 0.25
    result["quality"]["agreement"] = None
    (other / "result.json").write_text(json.dumps(result))
    document = json.loads(skerry("runs", "compare", run.name, "other", "--json").stdout)
    assert document["settings"] == [{"key": "rounds", "a": 20, "b": 10}]
    figures = {figure["figure"]: figure for figure in document["figures"]}
    assert figures["quality.final.accuracy"]["difference"] == pytest.approx(-0.25)
    assert figures["quality.agreement"]["difference"] is None
    assert figures["privacy.epsilon_rdp"]["difference"] == 0
    shown = skerry("runs", "compare", run.name, "other").stdout
    assert "accuracy after" in shown
    assert "-0.25" in shown


def test_compare_needs_two_results(skerry, sample, run: Path) -> None:
    folder = sample.build(run.parent, state="interrupted", rounds_done=1)
    result = skerry("runs", "compare", run.name, folder.id)
    assert result.exit_code == 2
    assert "no result yet" in result.stderr


def test_report_is_written_anew_and_its_size_told(skerry, run: Path) -> None:
    document = json.loads(skerry("report", run.name, "--json").stdout)
    path = Path(document["report"])
    assert path == run / "report.html"
    assert document["bytes"] == path.stat().st_size


def test_a_damaged_result_is_bad_input_not_a_fault(skerry, run: Path) -> None:
    (run / "result.json").write_text("{}")
    for command in (["runs", "show"], ["report"], ["privacy", "verify"]):
        result = skerry(*command, run.name)
        assert result.exit_code == 2, command
        assert "schema" in result.stderr


@pytest.mark.parametrize("name", ["status.json", "rounds.jsonl", "result.json"])
def test_a_run_of_another_layout_is_bad_input_that_names_the_file(skerry, run: Path, name: str) -> None:
    (run / name).write_text("{" if name == "result.json" else '{"layout": 0}\n')
    for command in (["runs", "show"], ["report"], ["runs", "pause", "--reason", "x"]):
        if name != "status.json" and command[1:2] == ["pause"]:
            continue  # it looks at the state alone
        result = skerry(*command, run.name, "--json")
        assert result.exit_code == 2, (command, result.stderr)
        assert json.loads(result.stdout)["error"]["where"] == str(run / name)
    listed = skerry("runs", "list", "--json")
    assert listed.exit_code == 0
    assert [row["id"] for row in json.loads(listed.stdout)["runs"]] == [run.name]
