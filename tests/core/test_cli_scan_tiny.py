"""``skerry security scan`` on runs of tiny tasks: what cannot be cleaned, and what cannot be judged."""

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
