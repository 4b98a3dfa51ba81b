"""The same scenario and seed give the same model on every engine and under plain `flwr run` of the app."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file

from skerry.config import Scenario, default_scenario, to_toml
from skerry.runfolder import RunFolder, list_runs
from skerry.security.privacy.verification import verify_ledger
from skerry.server.engines.ports import free_ports
from skerry.server.launch import launch

HERE = Path(__file__).parent
# A background job inherits a deaf ear for Ctrl-C; a person's terminal does not.
SKERRY = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from skerry.cli import main; main()"
APP = HERE.parents[1] / "deploy" / "app"
OVERRIDES = (
    "task.name=few_writers:FewWriters",
    "rounds=2",
    "seed=11",
    "attack.devices=0",
    "defence.aggregator=mean",
    "defence.tolerate=0",
    "report.references=false",
)


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        yield


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return default_scenario(OVERRIDES)


@pytest.fixture(scope="module")
def reference(scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return launch(scenario, engine="inprocess", parent=tmp_path_factory.mktemp("reference"))


def vector(folder: RunFolder) -> np.ndarray:
    (found,) = (folder.path / "checkpoint").glob("*.safetensors")
    tensors = load_file(found)
    return np.concatenate([tensors[name].ravel() for name in sorted(tensors)])


def files(folder: RunFolder) -> set[str]:
    """Everything in the folder but logs, and blobs that are named by their encrypted content."""
    paths = (path.relative_to(folder.path) for path in folder.path.rglob("*") if path.is_file())
    return {str(path) for path in paths if not {"logs", "blobs"} & set(path.parts)}


def assert_same(folder: RunFolder, reference: RunFolder) -> None:
    assert folder.status["state"] == "complete"
    assert [record.accepted for record in folder.rounds()] == [("writer-00", "writer-01")] * 2
    np.testing.assert_allclose(vector(folder), vector(reference), rtol=0, atol=1e-6)
    assert not np.allclose(vector(folder), 0.0)
    assert files(folder) == files(reference)


def test_the_seed_matters(scenario: Scenario, reference: RunFolder, tmp_path: Path) -> None:
    other = launch(scenario.model_copy(update={"seed": 12}), engine="inprocess", parent=tmp_path)
    assert np.abs(vector(other) - vector(reference)).max() > 1e-3


@pytest.mark.engine
@pytest.mark.parametrize("engine", [pytest.param("ray", marks=pytest.mark.slow), "superlink"])
def test_every_engine_gives_the_same_model(
    engine: str, scenario: Scenario, reference: RunFolder, tmp_path: Path
) -> None:
    parent = tmp_path / 'it\'s a "folder" of runs'  # every program must find its way there
    assert_same(launch(scenario, engine=engine, parent=parent), reference)


def names(process: psutil.Process, text: str) -> bool:
    """Whether a living process has the text on its command line."""
    try:
        return any(text in argument for argument in process.cmdline())
    except psutil.Error:
        return False


def links_of(home: Path) -> list[psutil.Process]:
    """The programs of Flower whose home this is."""
    return [process for process in psutil.process_iter() if names(process, str(home))]


def family_of(home: Path) -> list[psutil.Process]:
    """What they have started."""
    family: list[psutil.Process] = []
    for link in links_of(home):
        with suppress(psutil.NoSuchProcess):
            family += link.children(recursive=True)
    return family


@pytest.fixture
def flower_home(tmp_path: Path) -> Iterator[Path]:
    """A home for Flower; the SuperLink that `flwr run` leaves running names it, and is ended."""
    home = tmp_path / "flower"
    home.mkdir()
    yield home
    links, family = links_of(home), family_of(home)
    for process in links:
        process.terminate()
    _, alive = psutil.wait_procs([*links, *family], timeout=180)
    for process in alive:
        process.kill()
    assert links


@pytest.mark.engine
def test_plain_flwr_run_of_the_app_makes_the_same_run(reference: RunFolder, flower_home: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    config = tmp_path / "config.toml"
    config.write_text(f"overrides = {json.dumps(';'.join(OVERRIDES))}\nruns-dir = {json.dumps(str(runs))}\n")
    programs = Path(sys.executable).parent
    port, control = free_ports(2)
    env = {
        **os.environ,
        "FLWR_HOME": str(flower_home),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(port),
        "FLWR_LOCAL_CONTROL_API_PORT": str(control),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }
    said, over_ray = tmp_path / "said", False
    with said.open("wb") as output:
        flwr = subprocess.Popen(
            [str(programs / "flwr"), "run", str(APP), "--stream", "--run-config", str(config)],
            env=env,
            cwd=tmp_path,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    deadline = time.monotonic() + 250
    try:
        while flwr.poll() is None:
            assert time.monotonic() < deadline, said.read_text()
            over_ray = over_ray or any(names(one, "raylet") for one in family_of(flower_home))
            time.sleep(0.2)
    finally:
        flwr.kill()
        flwr.wait(180)
    assert flwr.returncode == 0, said.read_text()
    assert over_ray  # the only quick test in which devices answer through Ray
    deadline = time.monotonic() + 180
    while not (found := list_runs(runs)) or found[0].status["state"] not in {"complete", "failed"}:
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(0.2)
    assert_same(found[0], reference)


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ray", "superlink"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_keeps_what_was_finished_and_leaves_no_process(
    engine: str, number: signal.Signals, scenario: Scenario, tmp_path: Path
) -> None:
    stop_and_look(engine, scenario, tmp_path, lambda run, _: run.send_signal(number))


@pytest.mark.engine
@pytest.mark.slow
def test_a_coordinator_that_somebody_stops_is_an_interrupted_run(scenario: Scenario, tmp_path: Path) -> None:
    def stop(_: object, family: list[psutil.Process]) -> None:
        (coordinator,) = [p for p in family if names(p, "flwr-serverapp")]
        coordinator.terminate()  # by `flwr stop`, the system, or an operator; Flower makes an exit of it

    stop_and_look("superlink", scenario, tmp_path, stop)


Stop = Callable[["subprocess.Popen[str]", list[psutil.Process]], None]


def stop_and_look(engine: str, scenario: Scenario, tmp_path: Path, stop: Stop) -> None:
    file = tmp_path / "scenario.toml"
    file.write_text(to_toml(scenario.model_copy(update={"rounds": 500})))
    run = subprocess.Popen(
        [sys.executable, "-c", SKERRY, "run", str(file), "--engine", engine, "--runs-dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
    )
    family: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 200
        while not list(tmp_path.glob("*/rounds.jsonl")):
            assert run.poll() is None, run.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        family = psutil.Process(run.pid).children(recursive=True)
        stop(run, family)
        _, told = run.communicate(timeout=180)
        _, alive = psutil.wait_procs(family, timeout=180)
        assert not alive
    finally:
        for process in family:
            if process.is_running():
                process.kill()
        run.kill()
        run.wait(180)
    assert run.returncode == 1
    assert "what was finished is kept" in told
    (folder,) = list_runs(tmp_path)
    assert folder.status["state"] == "interrupted"
    assert folder.rounds()
    for ledger in (folder.path / "ledger").rglob("*.jsonl"):
        assert not verify_ledger(ledger, pld=False).problems
