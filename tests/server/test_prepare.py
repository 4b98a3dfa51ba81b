"""What a run is not begun with."""

from pathlib import Path
from typing import NoReturn

import pytest

from skerry.clock import system_clock
from skerry.config import default_scenario
from skerry.device.worker import Worker
from skerry.errors import BudgetExceededError, TaskError
from skerry.runfolder import RunFolder, list_runs
from skerry.server import prepare as preparing
from skerry.server.launch import launch, resume
from skerry.server.prepare import prepare


def test_a_run_in_which_nobody_is_held_out_to_judge_it_by_is_not_begun(tmp_path: Path):
    folder = RunFolder.create(tmp_path, default_scenario(["task.holdout=[]"]), engine="inprocess")
    with pytest.raises(TaskError, match="no device is held out"):
        prepare(folder, system_clock, Worker())


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_for_which_nobody_has_budget_is_not_gone_on_with_either(
    processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> NoReturn:
        raise BudgetExceededError("budget_exceeded", "no device has budget left for a round")

    monkeypatch.setattr(preparing, "check_budgets", refuse)
    settings = ["rounds=1", "training.epochs=1", "report.references=false", f"privacy.ledgers={tmp_path / 'ledgers'}"]
    with pytest.raises(BudgetExceededError):
        launch(default_scenario(settings), engine="inprocess", parent=tmp_path / "runs", processes=processes)
    (run,) = list_runs(tmp_path / "runs")
    with pytest.raises(BudgetExceededError):
        resume(run.id, parent=tmp_path / "runs", processes=processes)
    assert (run.state, run.rounds()) == ("failed", [])
    monkeypatch.undo()
    resume(run.id, parent=tmp_path / "runs", processes=processes)  # such as after more of it was granted
    assert run.state == "complete"
