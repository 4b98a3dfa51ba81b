"""However a run ends early, its folder says how, and can still be shown."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from skerry.config import parse_scenario
from skerry.errors import DiskFullError, RunFailedError
from skerry.runfolder import RunFolder
from skerry.server import conduct as conduct_module
from skerry.server.recorded import recorded


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder.create(tmp_path, parse_scenario('name = "mine"'), engine="test")
    made.mark("running", stage="round 3")
    return made


@pytest.mark.parametrize(
    ("end", "state", "what"),
    [
        (KeyboardInterrupt(), "interrupted", "the run was interrupted"),
        (SystemExit(0), "interrupted", "the run was interrupted"),  # a signal, as Flower passes it on
        (SystemExit(), "interrupted", "the run was interrupted"),
        (SystemExit(1), "failed", "the coordinator's process was ended (exit code 1)"),
        (RunFailedError("a round failed", where="round 3", mend="look there"), "failed", "a round failed"),
        (ZeroDivisionError("by zero"), "failed", "ZeroDivisionError: by zero"),
    ],
)
def test_what_ended_a_run_is_written_down_and_raised_again(
    folder: RunFolder, end: BaseException, state: str, what: str
) -> None:
    with pytest.raises(type(end)) as raised, recorded(folder), recorded(folder):
        raise end
    assert raised.value is end
    assert (folder.status["state"], folder.status["error"]["what"]) == (state, what)
    assert folder.status["stage"] == "round 3"


def test_a_disk_without_room_for_the_word_hides_nothing(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise DiskFullError("no space left on the device", where="status.json")

    monkeypatch.setattr(RunFolder, "mark", full)
    with pytest.raises(ZeroDivisionError), recorded(folder):
        raise ZeroDivisionError("the cause")


# What `flwr-serverapp` does before it runs a ServerApp.
COORDINATOR = """
import sys, time
from pathlib import Path
from flwr.supercore.exit import register_signal_handlers
from flwr.supercore.telemetry import EventType
from skerry.runfolder import RunFolder
from skerry.server.recorded import recorded

register_signal_handlers(event_type=EventType.FLWR_SERVERAPP_RUN_LEAVE, exit_message="stopped")
with recorded(RunFolder(Path(sys.argv[1]))):
    print("running", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_flower_has_caught_interrupts_the_run(folder: RunFolder, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", COORDINATOR, str(folder.path)], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(number)
        process.wait(180)
    finally:
        process.kill()
        process.wait(180)
    assert folder.status["state"] == "interrupted"
    assert folder.status["error"]["what"] == "the run was interrupted"


def test_a_process_that_is_gone_without_a_word_was_interrupted(folder: RunFolder) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(180)
    conduct_module.write_json(folder.path / "status.json", {**folder.status, "pid": gone.pid})
    assert folder.state == "interrupted"
