"""``skerry fleet``: what an operator sees of the registry, decides, and is refused."""

import json
import re
import sqlite3
from pathlib import Path

import pytest

from skerry.clock import system_clock
from skerry.records import Action, Reason, Score, Verdict
from skerry.server.registry import DeviceKind, JudgedRound, Registry, Scope

LAB = Scope(DeviceKind.SIMULATED, "digits/digits")
NOISY = Score("norm", 93.67, 10.21, 70.18, "Norm 93.7 is 4.07 times the other devices' median.")
USUAL = Score("cosine", 0.4, -0.08, None, "Cosine 0.40 to the others' median is not against it.")
STRIKES = Score("strikes", 3.0, None, 3.0, "Dropped 3 times: out for the rest of the run.")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three rounds of two devices, the first of which sends too much and ends in quarantine."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("SKERRY_RUNS_DIR", str(folder))
    monkeypatch.delenv("SKERRY_HALF_LIFE_DAYS", raising=False)
    for number in (1, 2, 3):
        last = number == 3
        action = Action.QUARANTINE if last else Action.DROP
        bad = Verdict(number, "writer-08", action, (Reason.NORM,), (NOISY, USUAL, *((STRIKES,) if last else ())))
        good = Verdict(number, "writer-01", Action.ACCEPT, (), (USUAL,))
        rounds = [JudgedRound(number, system_clock() - 60_000, (bad, good))]
        Registry(folder).record(LAB, "digits-1", rounds)
    return folder


def told(result) -> dict:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(result, code: int) -> dict:
    assert result.exit_code == code, result.output
    error = json.loads(result.stdout)["error"]
    assert error["exit_code"] == code
    assert error["mend"]
    return error


def test_list_shows_standing_and_quarantine_worst_first(runs: Path, skerry) -> None:
    shown = skerry("fleet", "list").stdout
    assert "simulated · digits/digits" in shown
    lines = [line.rstrip() for line in shown.splitlines() if line.startswith("writer")]
    assert re.match(r"writer-08 +\d{4}-\d\d-\d\d \d\d:\d\d +0\.20 +██░{8} +3 +3 +since .*, by screen$", lines[0])
    assert re.match(r"writer-01 .* 0\.80 +█{8}░░ +3 +0$", lines[1])
    document = told(skerry("fleet", "list", "--json"))
    assert document["registry"] == str(runs / "registry.sqlite")
    assert document["half_life_days"] == 30.0
    bad, good = document["devices"]
    assert (bad["device"], bad["judged"], bad["rejected"], bad["quarantine"]["by"]) == ("writer-08", 3, 3, "screen")
    assert good["score"] == pytest.approx(0.8, abs=1e-4)
    assert good["quarantine"] is None


def test_show_prints_the_evidence(runs: Path, skerry) -> None:
    shown = skerry("fleet", "show", "writer-08", "--last", "1")
    assert shown.exit_code == 0
    text = " ".join(shown.stdout.split())
    assert "standing 0.20" in text
    assert "3 judged, 3 rejected" in text
    assert f"by the screen (run digits-1, round 3): {NOISY.sentence} {STRIKES.sentence}" in text
    assert "quarantine: norm digits-1, round 3, 20" in text
    assert "norm 93.67 10.21 … 70.18 Norm 93.7" in text
    assert "cosine 0.4 -0.08 … Cosine 0.40" in text
    assert "over time ▃▃▂" in text
    assert "and two older verdicts" in text
    assert "runs of digits/digits with defence.remember = true do not ask it" in text
    document = told(skerry("fleet", "show", "writer-08", "--json"))
    assert [one["round"] for one in document["verdicts"]] == [1, 2, 3]
    assert document["verdicts"][0]["scores"][0] == NOISY.__dict__
    assert [round(point["score"], 3) for point in document["reputation"]] == [0.333, 0.25, 0.2]
    assert "no verdict but acceptance" in skerry("fleet", "show", "writer-01").stdout


def test_an_appeal_lifts_the_quarantine_and_is_shown_beside_what_it_answers(runs: Path, skerry) -> None:
    granted = skerry("fleet", "appeal", "writer-08", "--reason", "a broken sensor", "--by", "ada", "--restore", "1")
    assert granted.exit_code == 0
    assert "its quarantine is lifted; standing 0.20 → 0.50" in granted.stdout
    document = told(skerry("fleet", "show", "writer-08", "--json"))
    assert document["quarantine"] is None
    assert len(document["verdicts"]) == 3
    assert [(one["kind"], one["by"]) for one in document["decisions"]] == [("quarantine", "screen"), ("appeal", "ada")]
    assert "appeal, 100.0 % restored" in skerry("fleet", "show", "writer-08").stdout


def test_quarantine_needs_a_reason_and_names_its_author(runs: Path, skerry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "grace")
    document = told(skerry("fleet", "quarantine", "writer-01", "--reason", "stolen", "--json"))
    assert (document["decision"]["by"], document["decision"]["why"]) == ("grace", "stolen")
    assert (
        "in_quarantine" in refused(skerry("fleet", "quarantine", "writer-01", "--reason", "x", "--json"), 3)["reason"]
    )
    assert skerry("fleet", "quarantine", "writer-01").exit_code == 2
    assert "a reason" in refused(skerry("fleet", "appeal", "writer-01", "--reason", " ", "--json"), 2)["what"]


def test_bad_words_are_told(runs: Path, skerry) -> None:
    assert "'writer-08'" in refused(skerry("fleet", "show", "writer-0", "--json"), 2)["mend"]
    assert "'digits/digits'" in refused(skerry("fleet", "show", "writer-08", "--scope", "digits", "--json"), 2)["mend"]
    assert "'digits/digits'" in refused(skerry("fleet", "list", "--scope", "digits", "--json"), 2)["mend"]
    assert "half-life" in refused(skerry("fleet", "list", "--half-life", "0", "--json"), 2)["what"]
    error = refused(skerry("fleet", "appeal", "writer-08", "--reason", "x", "--restore", "1.5", "--json"), 2)
    assert "between 0 and 1" in error["what"]
    error = refused(skerry("fleet", "appeal", "writer-01", "--reason", "x", "--json"), 3)
    assert error["reason"] == "nothing_to_appeal"


def test_the_half_life_is_a_setting(runs: Path, skerry, monkeypatch: pytest.MonkeyPatch) -> None:
    a_second = str(1 / 86_400)
    assert told(skerry("fleet", "list", "--half-life", a_second, "--json"))["devices"][0]["score"] == pytest.approx(0.5)
    monkeypatch.setenv("SKERRY_HALF_LIFE_DAYS", a_second)
    assert told(skerry("fleet", "show", "writer-01", "--json"))["score"] == pytest.approx(0.5)


def test_where_nothing_has_run_nothing_is_made(tmp_path: Path, skerry) -> None:
    empty = tmp_path / "none"
    assert told(skerry("fleet", "list", "--runs-dir", empty, "--json"))["devices"] == []
    assert "no device is known" in skerry("fleet", "list", "--runs-dir", empty).stderr
    assert "no device is known" in refused(skerry("fleet", "show", "x", "--runs-dir", empty, "--json"), 2)["mend"]
    assert not empty.exists()


def test_a_damaged_registry_is_one_clear_error(runs: Path, skerry) -> None:
    path = runs / "registry.sqlite"
    path.write_bytes(b"\0" * 8192)
    for words in (["list"], ["show", "writer-08"], ["quarantine", "writer-08", "--reason", "x"]):
        error = refused(skerry("fleet", *words, "--json"), 1)
        assert error["kind"] == "registry"
        assert error["where"] == str(path)
        assert "move it away" in error["mend"]
    assert path.read_bytes() == b"\0" * 8192


def test_a_registry_of_a_newer_skerry_is_left_alone(runs: Path, skerry) -> None:
    with sqlite3.connect(runs / "registry.sqlite") as base:
        base.execute("pragma user_version = 99")
    base.close()
    assert "newer skerry" in refused(skerry("fleet", "list", "--json"), 1)["what"]
