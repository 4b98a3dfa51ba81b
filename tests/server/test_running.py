"""A server that runs is seen and can be ended, whatever the clock does; a number that was used again is left alone."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from skerry.server import running
from skerry.server.running import RunningServer


def noted(pid: int, born: str) -> RunningServer:
    return RunningServer(pid, born, "harbour", 0, {}, 0, "", "", "")


@pytest.fixture
def child():
    process = subprocess.Popen([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"],
                               stdout=subprocess.PIPE)  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def born(pid: int) -> str:
    found = running._born(pid)
    assert found is not None
    return found


def test_a_clock_that_was_set_hides_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "server.json"
    server = noted(*RunningServer.ourselves())
    server.write(path)
    assert RunningServer.read(path) == server
    if sys.platform == "linux":  # what the kernel says of its start follows the clock
        before = psutil._pslinux.boot_time()
        monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: before + 2.0)
        monkeypatch.setattr(psutil._pslinux, "BOOT_TIME", before + 2.0, raising=False)
    assert RunningServer.read(path) == server


def test_a_server_is_ended_and_not_seen_any_more(tmp_path: Path, child: subprocess.Popen) -> None:
    path = tmp_path / "server.json"
    server = noted(child.pid, born(child.pid))
    server.write(path)
    server.stop()
    assert child.wait(180) == -signal.SIGTERM
    assert RunningServer.read(path) is None
    server.stop()  # and once more


def test_one_that_died_and_was_not_waited_for_is_not_running(tmp_path: Path, child: subprocess.Popen) -> None:
    path = tmp_path / "server.json"
    noted(child.pid, born(child.pid)).write(path)
    child.kill()
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert RunningServer.read(path) is None


def test_another_process_of_its_number_is_not_taken_for_it_and_not_ended(
    tmp_path: Path, child: subprocess.Popen
) -> None:
    path = tmp_path / "server.json"
    earlier = replace(noted(child.pid, born(child.pid)), born="an earlier boot/17")
    earlier.write(path)
    assert RunningServer.read(path) is None
    earlier.stop()
    assert child.poll() is None


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"pid": 1}', b"\xff"])
def test_a_note_that_is_none_is_no_server(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "server.json"
    path.write_bytes(text)
    assert RunningServer.read(path) is None
