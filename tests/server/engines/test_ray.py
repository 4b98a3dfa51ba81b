"""The ray engine: the same apps under Flower's simulation, every failure heard, nothing left behind."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from skerry.errors import MissingDependencyError, RunFailedError
from skerry.server.engines import Components
from skerry.server.engines.ray import RayEngine


def temporary_folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("skerry-ray-*"))


def at_work(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_missing_ray_is_named(echo: Components, make_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match="Ray is not installed"):
        RayEngine(echo).run(make_run(1))


@pytest.mark.engine
@pytest.mark.slow
def test_devices_answer_from_rays_workers_and_nothing_is_left(
    echo: Components,
    make_run: Any,
    seen: Any,
    no_process_left: None,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")  # a cluster of somebody else is never joined
    environment, handler, folders = dict(os.environ), signal.getsignal(signal.SIGTERM), temporary_folders()
    folder = make_run(3, rounds=2)
    RayEngine(echo).run(folder)
    rounds = seen(folder)["rounds"]
    assert sorted(r["partition"] for r in rounds[0]["replies"]) == [0, 1, 2]
    assert [r["seen"] for r in rounds[1]["replies"]] == [2, 2, 2]
    assert {r["threads"] for r in rounds[1]["replies"]} == {"1"}
    assert {r["telemetry"] for r in rounds[1]["replies"]} == {"0"}
    assert seen(folder)["pid"] not in {r["pid"] for r in rounds[1]["replies"]}
    assert (dict(os.environ), signal.getsignal(signal.SIGTERM)) == (environment, handler)
    assert temporary_folders() <= folders
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.parametrize(
    ("then", "told"), [("fail", "RuntimeError: the coordinator was told to fail"), ("exit", "SystemExit: 4")]
)
def test_a_failing_coordinator_is_heard(
    echo: Components, make_run: Any, no_process_left: None, then: str, told: str
) -> None:
    folder = make_run(1, rounds=0, then=then)
    with pytest.raises(RunFailedError, match=told):
        RayEngine(echo).run(folder)
    assert (folder.path / "logs" / "ray.log").exists()


@pytest.mark.engine
@pytest.mark.slow
def test_a_run_that_is_complete_stays_so_whatever_its_simulation_does_at_the_end(
    echo: Components, make_run: Any, seen: Any, no_process_left: None
) -> None:
    folder = make_run(1, rounds=1, then="vanish")
    RayEngine(echo).run(folder)
    assert len(seen(folder)["rounds"]) == 1


@pytest.mark.engine
def test_a_ray_that_does_not_start_is_named(
    echo: Components, make_run: Any, no_process_left: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "ray.py").write_text("def init(**_): raise OSError('no shared memory')\n")
    monkeypatch.syspath_prepend(str(broken))
    folder = make_run(1)
    with pytest.raises(RunFailedError, match="Ray broke down: OSError: no shared memory"):
        RayEngine(echo).run(folder)


@pytest.mark.engine
def test_a_waiting_coordinator_does_not_outlive_its_simulation(
    echo: Components, make_run: Any, no_process_left: None
) -> None:
    with pytest.raises(RunFailedError, match="Ray broke down"):
        RayEngine(Components("broken_ray_apps:server", "broken_ray_apps:client")).run(make_run(1, patience_s=3600.0))


@pytest.mark.engine
@pytest.mark.slow
def test_when_ray_dies_the_devices_are_lost_and_the_coordinator_is_told(
    echo: Components, make_run: Any, seen: Any, no_process_left: None
) -> None:
    folder = make_run(1, rounds=1, do="kill-parent")  # the parent of a Ray worker is Ray's own daemon
    RayEngine(echo).run(folder)
    assert len(seen(folder)["rounds"][0]["errors"]) == 1


@pytest.mark.engine
@pytest.mark.slow
def test_a_simulation_that_is_killed_takes_ray_along(echo: Components, make_run: Any) -> None:
    folder = make_run(1, do="hang", patience_s=3600.0)
    family: list[psutil.Process] = []

    def kill_simulation() -> None:
        while not (folder.path / "begun").exists():
            time.sleep(0.1)
        (driver,) = (p for p in psutil.Process().children() if "ray_driver" in " ".join(p.cmdline()))
        time.sleep(5)  # its workers start, and are noticed
        family.extend(driver.children(recursive=True))
        driver.kill()

    killer = threading.Thread(target=kill_simulation, daemon=True)
    killer.start()
    try:
        with pytest.raises(RunFailedError):
            RayEngine(echo).run(folder)
        assert len(family) > 3
        assert not [process for process in family if at_work(process)]
    finally:
        for process in family:
            if process.is_running():
                process.kill()


@pytest.mark.engine
def test_ctrl_c_ends_ray_and_everything_it_started(echo: Components, make_run: Any) -> None:
    folder = make_run(2, do="hang", patience_s=3600.0)
    own = Path(tempfile.mkdtemp(prefix="r"))  # others may use Ray meanwhile; short, for Ray's sockets
    run = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("interrupted.py")), "ray", str(folder.path)],
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(own)},
    )
    family: list[psutil.Process] = []
    try:
        end = time.monotonic() + 180
        while not any("raylet" in process.name() for process in family) and time.monotonic() < end:
            assert run.poll() is None
            time.sleep(0.2)
            family = [process for process in psutil.Process(run.pid).children(recursive=True) if process.is_running()]
        assert len(family) > 3
        assert list(own.glob("skerry-ray-*"))
        run.send_signal(signal.SIGINT)
        assert run.wait(180) == 130
        _, alive = psutil.wait_procs(family, timeout=180)
        assert not alive
        assert not list(own.glob("skerry-ray-*"))
    finally:
        shutil.rmtree(own, ignore_errors=True)
        for process in family:
            if process.is_running():
                process.kill()
        run.kill()
        run.wait(180)
