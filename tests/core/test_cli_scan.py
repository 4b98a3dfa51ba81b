"""``skerry security scan`` on real runs: a planted backdoor is found and taken out, an honest run is left alone."""

import json
from pathlib import Path

import pytest

from skerry.canonical import sha256_hex
from skerry.config import default_scenario
from skerry.runfolder import RunFolder
from skerry.server.launch import launch

BARE = (
    "defence.aggregator=mean",
    "defence.tolerate=0",
    'defence.screen=["finite"]',
    "privacy.unit=none",
    "report.references=false",
    "attack.kind=backdoor",
)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    scenario = default_scenario((*BARE, "attack.devices=3"))
    return launch(scenario, engine="inprocess", parent=tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    scenario = default_scenario((*BARE, "attack.devices=0"))
    return launch(scenario, engine="inprocess", parent=tmp_path_factory.mktemp("honest"))


def files(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): sha256_hex(p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


def test_a_planted_backdoor_is_found_with_its_class_and_a_cleaned_model_is_written_beside(
    skerry, planted, tmp_path
) -> None:
    before, out = files(planted.path), tmp_path / "cleaned"
    done = skerry("security", "scan", planted.path, "--remove", out, "--json")
    assert done.exit_code == 1, done.output
    document = json.loads(done.stdout)
    assert document["trigger_success"] > 0.5
    assert [probe["target"] for probe in document["probes"] if probe["suspicious"]] == [0]
    assert document["probes"][0]["rectangle"]["corner"] == [6, 6]
    assert document["found"]
    assert document["cannot_see"]
    removal = document["removal"]
    assert removal["success"] == pytest.approx(document["trigger_success"])
    assert removal["success_after"] < 0.1
    assert removal["accuracy_after"] > removal["accuracy"] - 0.02
    card = json.loads((out / "card.json").read_text("utf-8"))
    assert card["removal"]["from"]["run"] == planted.id
    assert card["held_out_accuracy"] == pytest.approx(removal["accuracy_after"])
    assert (out / "model.int8.onnx").is_file()
    assert files(planted.path) == before
    assert skerry("security", "scan", out / "model.int8.onnx").exit_code == 0


def test_the_delivered_file_alone_gives_the_backdoor_away_without_a_public_model(skerry, planted) -> None:
    done = skerry("security", "scan", planted.path / "model" / "model.int8.onnx")
    assert done.exit_code == 1
    assert "found: a patch at 6…7 × 6…7" in done.stdout
    assert "row's change" not in done.stdout


def test_nothing_is_found_in_an_honest_run_and_what_cannot_be_seen_is_said(skerry, honest) -> None:
    done = skerry("security", "scan", honest.path)
    assert done.exit_code == 0, done.output
    assert "nothing found, which is no proof" in done.stdout
    assert "flipped labels" in done.stdout


def test_what_cannot_be_done_is_bad_input_before_anything_is_written(skerry, honest, tmp_path) -> None:
    file = honest.path / "model" / "model.int8.onnx"
    there = tmp_path / "there"
    there.mkdir()
    for args, told in (
        (["nothing"], "no run"),
        ([honest.path, "--remove", there], "never written over"),
        ([honest.path, "--set", "seed=1"], "belong to files"),
        ([file, "--remove", tmp_path / "new"], "only a run's model"),
        ([file, "--set", "model.input_size=32"], "name its own scenario"),
    ):
        done = skerry("security", "scan", *args)
        assert done.exit_code == 2, done.output
        assert told in " ".join(done.stderr.split())
    assert list(there.iterdir()) == []
    assert not (tmp_path / "new").exists()
