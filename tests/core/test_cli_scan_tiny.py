"""``skerry security scan`` on runs of tiny tasks: what cannot be cleaned, and what cannot be judged."""

import json
import sys
from pathlib import Path

import pytest

from skerry.runfolder import RunFolder
from skerry.server.launch import launch

TINY = Path(__file__).parents[1] / "device"


@pytest.fixture(autouse=True)
def importable():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TINY))
        yield
    sys.modules.pop("tiny_tasks", None)


def run(parent: Path, mode: str, task: str) -> RunFolder:
    import tiny_tasks

    return launch(tiny_tasks.scenario(mode, task, "none", "rounds=1"), engine="inprocess", parent=parent)


def test_a_run_that_cannot_be_cleaned_is_refused_before_it_is_scanned(skerry, tmp_path) -> None:
    folder = run(tmp_path / "runs", "full", "TinyWindows")
    done = skerry("security", "scan", folder.path, "--remove", tmp_path / "new")
    assert done.exit_code == 2, done.output
    told = " ".join(done.stderr.split())
    assert "only heads are cleaned so" in told
    assert "probing" not in told
    assert not (tmp_path / "new").exists()


def test_two_classes_that_nothing_can_judge_are_not_called_clean(skerry, tmp_path) -> None:
    folder = run(tmp_path / "runs", "head", "TwoWindows")
    of_run = json.loads(skerry("security", "scan", folder.path, "--json").stdout)
    assert of_run["judged"] == {"probes": True, "head": False}
    file = (folder.path / "model" / "model.int8.onnx", "--scenario", folder.path / "scenario.toml")
    done = skerry("security", "scan", *file)
    assert done.exit_code == 1, done.output
    assert "nothing found" not in done.stdout
    assert "not judged: the probes" in done.stdout
    assert "nothing could be judged" in " ".join(done.stderr.split())
    assert json.loads(skerry("security", "scan", *file, "--json").stdout)["judged"] == {"probes": False}


@pytest.mark.slow
def test_the_smallest_patches_are_sought_where_asked_for_and_three_classes_judge_none(skerry, tmp_path) -> None:
    folder = run(tmp_path / "runs", "head", "TinyWindows")
    document = json.loads(skerry("security", "scan", folder.path, "--invert", "--json").stdout)
    assert document["judged"] == {"probes": True, "shortcuts": False, "head": False}
    assert [patch["target"] for patch in document["shortcuts"]] == [0, 1, 2]
    assert all(patch["size"] > 0 and not patch["suspicious"] for patch in document["shortcuts"])
