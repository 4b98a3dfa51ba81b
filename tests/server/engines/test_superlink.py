"""The superlink engine: real programs, every death noticed, nothing left behind."""

import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from skerry.config import default_scenario
from skerry.errors import PortTakenError, RunFailedError, ScenarioError
from skerry.server.engines import Components
from skerry.server.engines.bundle import write_bundle
from skerry.server.engines.certificates import write_node_key
from skerry.server.engines.deployment import Deployment
from skerry.server.engines.engine import child_environment
from skerry.server.engines.ports import free_ports
from skerry.server.engines.processes import Children
from skerry.server.engines.superlink import SuperlinkEngine
from skerry.server.launch import launch

pytestmark = [pytest.mark.engine]


def private_folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("skerry-superlink-*"))


@pytest.mark.slow
def test_devices_answer_from_their_own_nodes_and_nothing_is_left(
    echo: Components, make_run: Any, seen: Any, no_process_left: None, capfd: pytest.CaptureFixture[str]
) -> None:
    folders = private_folders()
    folder = make_run(2, rounds=2)
    SuperlinkEngine(echo).run(folder)
    rounds = seen(folder)["rounds"]
    assert sorted((r["home"], r["partition"]) for r in rounds[0]["replies"]) == [("writer-00", 0), ("writer-01", 1)]
    assert [r["seen"] for r in rounds[1]["replies"]] == [2, 2]
    assert len({r["pid"] for number in rounds for r in number["replies"]}) == 4
    assert {r["telemetry"] for r in rounds[0]["replies"]} == {"0"}
    assert {path.name for path in (folder.path / "logs").iterdir()} == {
        "superlink.log",
        "supernode-00.log",
        "supernode-01.log",
    }
    assert private_folders() == folders
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


@pytest.mark.slow
def test_a_failing_coordinator_is_heard_although_flower_exits_with_0(
    echo: Components, make_run: Any, no_process_left: None
) -> None:
    folder = make_run(1, rounds=0, then="fail")
    with pytest.raises(RunFailedError, match="the coordinator was told to fail"):
        SuperlinkEngine(echo).run(folder)


@pytest.mark.slow
def test_a_run_that_is_complete_stays_so_although_its_end_is_never_reported(
    echo: Components, make_run: Any, seen: Any, no_process_left: None
) -> None:
    folder = make_run(1, rounds=1, then="vanish")
    SuperlinkEngine(echo).run(folder)
    assert len(seen(folder)["rounds"]) == 1


@pytest.mark.slow
def test_a_node_that_dies_ends_the_run_with_its_name(echo: Components, make_run: Any, no_process_left: None) -> None:
    folder = make_run(1, do="hang", patience_s=3600.0)

    def kill_node() -> None:
        while not (folder.path / "begun").exists():
            time.sleep(0.1)
        for child in psutil.Process().children():
            if "flower-supernode" in " ".join(child.cmdline()):
                child.kill()

    killer = threading.Thread(target=kill_node, daemon=True)
    killer.start()
    with pytest.raises(RunFailedError, match=r"SuperNode 0 ended by itself \(exit code -9\)"):
        SuperlinkEngine(echo).run(folder)


@pytest.mark.slow
def test_ctrl_c_ends_every_program_and_removes_the_keys(echo: Components, make_run: Any) -> None:
    folder, folders = make_run(1, do="hang", patience_s=3600.0), private_folders()
    run = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("interrupted.py")), "superlink", str(folder.path)],
        start_new_session=True,
    )
    family: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 200
        while not (folder.path / "begun").exists():
            assert run.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        family = psutil.Process(run.pid).children(recursive=True)
        assert len(family) >= 5  # SuperLink, its task starter, the coordinator, the SuperNode, its task starter
        run.send_signal(signal.SIGINT)
        assert run.wait(180) == 130
        _, alive = psutil.wait_procs(family, timeout=180)
        assert not alive
        assert private_folders() <= folders
    finally:
        for process in family:
            if process.is_running():
                process.kill()
        run.kill()
        run.wait(180)


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployment, Children, Path]]:
    folder = tmp_path_factory.mktemp("link")
    home = folder / "home"
    home.mkdir(mode=0o700)
    with Children() as children:
        deployment = Deployment(home, folder, children)
        deployment.start([])
        yield deployment, children, folder


def test_the_control_api_registers_nodes_and_starts_and_follows_a_run(
    link: tuple[Deployment, Children, Path], tmp_path: Path
) -> None:
    deployment, children, _ = link
    with deployment.control() as control:
        key = write_node_key(tmp_path / "key")
        assert control.register(key) > 0
        with pytest.raises(ConnectionError):
            control.register(key)  # once only
        assert control.online() == 0
        run_id = control.start(write_bundle(tmp_path / "app", Components("absent:app", "absent:app")), {"run": "/"})
        assert not control.status(run_id).completed
        deadline = time.monotonic() + 180
        while not (status := control.status(run_id)).finished and time.monotonic() < deadline:
            time.sleep(0.1)
        assert status.finished
        assert not status.completed
        assert "absent" in status.details
    children.check()


def test_the_link_speaks_tls_only_and_a_node_without_a_registered_key_stays_outside(
    link: tuple[Deployment, Children, Path], tmp_path: Path
) -> None:
    deployment, children, folder = link
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://{deployment.address}/health")
    with pytest.raises(httpx.ConnectError, match="certificate"):
        httpx.get(f"https://{deployment.address}/health")
    key = tmp_path / "stranger.key"
    write_node_key(key)  # and never registered
    command = [
        *(str(Path(sys.executable).parent / "flower-supernode"), "--superlink", deployment.address),
        *("--root-certificates", str(folder / "home" / "authority.pem"), "--max-retries", "1"),
        *("--host", "127.0.0.1", "--port"),
    ]
    ports = [str(port) for port in free_ports(2)]
    with Children() as others:
        strangers = [
            others.start(
                name,
                [*command, port, *credential],
                tmp_path / f"{name}.log",
                child_environment({"FLWR_HOME": str(tmp_path / f"{name}-home")}),
            )
            for name, port, credential in [
                ("own-key", ports[0], ["--auth-supernode-private-key", str(key)]),
                ("no-key", ports[1], []),
            ]
        ]
        assert all(stranger.process.wait(180) != 0 for stranger in strangers)
    assert "Failed to activate SuperNode" in strangers[0].log.read_text()
    with deployment.control() as control:
        assert control.online() == 0
    children.check()


@pytest.mark.slow
def test_a_port_that_is_taken_meanwhile_is_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    with Children() as children, socket.socket() as other:
        deployment = Deployment(home, tmp_path, children)
        other.bind(("127.0.0.1", int(deployment.address.partition(":")[2])))
        other.listen()
        with pytest.raises(PortTakenError, match="the SuperLink found its port taken"):
            deployment.start([])


def test_a_child_is_told_no_passphrase(monkeypatch):
    for name in ("SKERRY_PASSPHRASE", "SKERRY_ROOT_PASSPHRASE", "SKERRY_KEY_PASSPHRASE"):
        monkeypatch.setenv(name, "root words")
    assert "root words" not in child_environment({"SKERRY_RUN": "x"}).values()
    assert child_environment({"SKERRY_RUN": "x"})["SKERRY_RUN"] == "x"


def test_a_buffered_run_which_one_hanging_node_would_hold_is_refused_before_anything_runs(tmp_path: Path) -> None:
    buffered = ('cohort.mode="buffered"', "cohort.buffer=4", "cohort.concurrency=8", "defence.tolerate=1")
    with pytest.raises(ScenarioError, match="virtual clock") as refused:
        launch(default_scenario(buffered), engine="superlink", parent=tmp_path)
    assert "--engine inprocess" in refused.value.mend
    assert not list(tmp_path.iterdir())
