"""What a run is not begun with."""

from pathlib import Path

import pytest

from skerry.clock import system_clock
from skerry.config import default_scenario
from skerry.device.worker import Worker
from skerry.errors import TaskError
from skerry.runfolder import RunFolder
from skerry.server.prepare import prepare


def test_a_run_in_which_nobody_is_held_out_to_judge_it_by_is_not_begun(tmp_path: Path):
    folder = RunFolder.create(tmp_path, default_scenario(["task.holdout=[]"]), engine="inprocess")
    with pytest.raises(TaskError, match="no device is held out"):
        prepare(folder, system_clock, Worker())
