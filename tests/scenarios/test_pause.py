"""A run that is paused by a person finishes its round, waits, and goes on with the next one; its result is the same."""

import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from skerry.cli.app import app
from skerry.runfolder import RunFolder
from skerry.server.launch import launch

from ._enrolled import honest_rounds


def _skerry(*words: str) -> int:
    return CliRunner().invoke(app, ["runs", *words]).exit_code


@pytest.mark.slow
def test_a_paused_run_asks_nobody_until_it_is_resumed_and_comes_to_the_same(tmp_path: Path):
    given = honest_rounds()
    at_once = launch(given, engine="inprocess", parent=tmp_path / "at-once")
    begun: list[RunFolder] = []
    where = ["--runs-dir", str(tmp_path / "runs")]

    def pausing(folder: RunFolder) -> None:
        begun.append(folder)
        assert _skerry("pause", folder.id, "--reason", "heat wave", "--by", "ann", *where) == 0

    running = threading.Thread(
        target=lambda: launch(given, engine="inprocess", parent=tmp_path / "runs", on_folder=pausing)
    )
    running.start()
    end = time.monotonic() + 180
    while not begun or begun[0].status["stage"] != "paused":
        assert time.monotonic() < end
        assert running.is_alive()
        time.sleep(0.05)
    (folder,) = begun
    time.sleep(1)
    assert folder.rounds() == []
    assert not (folder.path / "round").exists()  # nobody was asked
    assert folder.state == "running"
    assert _skerry("pause", folder.id, "--reason", "again", *where) == 3
    assert _skerry("resume", folder.id, "--by", "ann", *where) == 0
    running.join(180)
    assert folder.state == "complete"
    assert [one.vector_digest for one in folder.rounds()] == [one.vector_digest for one in at_once.rounds()]
    assert _skerry("resume", folder.id, *where) == 3
    assert _skerry("pause", folder.id, "--reason", "late", *where) == 3
