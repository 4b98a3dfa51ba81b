"""A prepared run folder with a fleet that has no keys and no data, for apps that only say who they are."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from skerry.config import parse_scenario
from skerry.runfolder import RunFolder
from skerry.server.engines import Components

HERE = Path(__file__).parent

MakeRun = Callable[..., RunFolder]


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> Components:
    """The echo apps, importable here and in every process started from here."""
    monkeypatch.syspath_prepend(str(HERE))
    known = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", f"{HERE}{os.pathsep}{known}" if known else str(HERE))
    return Components("echo_apps:server", "echo_apps:client")


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """A run folder with ``devices`` homes and a plan for the echo coordinator."""

    def make(devices: int, *, rounds: int = 2, do: str = "echo", **plan: Any) -> RunFolder:
        folder = RunFolder.create(tmp_path / "runs", parse_scenario('name = "echo"'), engine="test")
        for index in range(devices):
            home = folder.path / "fleet" / f"writer-{index:02}"
            home.mkdir(parents=True)
            (home / "device.json").write_text("{}")
        plan = {"nodes": devices, "rounds": rounds, "do": do, **plan}
        (folder.path / "plan.json").write_text(json.dumps(plan))
        return folder

    return make


@pytest.fixture
def seen() -> Callable[[RunFolder], Any]:
    """What the echo coordinator wrote down."""
    return lambda folder: json.loads((folder.path / "echo.json").read_text())


@pytest.fixture
def no_process_left() -> Iterator[None]:
    """Fails when a test leaves a descendant behind; ends it, by its own handle, all the same."""
    me = psutil.Process()
    before = {process.pid for process in me.children(recursive=True)}
    yield
    left = [process for process in me.children(recursive=True) if process.pid not in before]
    described = []
    for process in left:
        try:
            described.append(f"{process.pid} {process.cmdline()}")
            process.kill()
        except psutil.NoSuchProcess:
            continue
    assert not described, described
