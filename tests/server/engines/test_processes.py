"""Children end with their parent, however it ends, and take what they started with them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from skerry.errors import MissingDependencyError, RunFailedError
from skerry.server.engines.engine import remove_folder
from skerry.server.engines.guard import guard
from skerry.server.engines.processes import Children, end, last_lines

# All sleep for longer than a test waits for their end: none may end by itself.
# Starts a grandchild, says both pids. When told: is deaf to SIGTERM, puts the grandchild into another process group,
# or has it started by a process that ends at once, so that it is an orphan.
FAMILY = """
import os, signal, subprocess, sys, time
SLEEP = "import time; time.sleep(3600)"
START = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', sys.argv[1]]).pid)"
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "orphan" in sys.argv:
    started = subprocess.Popen([sys.executable, "-c", START, SLEEP], stdout=subprocess.PIPE)
    grandchild = int(started.stdout.readline())
    started.wait()
else:
    group = 0 if "strays" in sys.argv else None
    grandchild = subprocess.Popen([sys.executable, "-c", SLEEP], process_group=group).pid
print(os.getpid(), grandchild, flush=True)
time.sleep(3600)
"""

# A parent that starts such a family through Children, says the pids, and waits to be killed.
PARENT = """
import os, sys, time
from pathlib import Path
from skerry.server.engines.processes import Children
log = Path(sys.argv[1])
children = Children()
children.start("family", [sys.executable, "-c", sys.argv[2]], log, os.environ)
time.sleep(3600)
"""


Pids = Callable[[Path], list[psutil.Process]]


@pytest.fixture
def pids() -> Iterator[Pids]:
    """The family that says its pids in a log; what is left of it after the test is killed."""
    found: list[psutil.Process] = []

    def said_in(log: Path) -> list[psutil.Process]:
        deadline = time.monotonic() + 180
        while len(words := log.read_text().split() if log.exists() else []) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        found.extend(psutil.Process(int(word)) for word in words)
        return found

    yield said_in
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def gone(processes: list[psutil.Process]) -> bool:
    deadline = time.monotonic() + 180
    while any(at_work(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(at_work(process) for process in processes)


def at_work(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("manner", [[], ["deaf"], ["strays"], ["orphan"], ["deaf", "strays"]])
def test_leaving_the_block_ends_children_and_grandchildren(tmp_path: Path, pids: Pids, manner: list[str]) -> None:
    log = tmp_path / "log"
    with Children() as children:
        children.start("family", [sys.executable, "-c", FAMILY, *manner], log, os.environ)
        family = pids(log)
        children.check()
        children.stop(grace_s=0.3)
    assert gone(family)


def test_an_error_in_the_block_ends_them_too(tmp_path: Path, pids: Pids) -> None:
    with pytest.raises(ZeroDivisionError), Children() as children:  # noqa: PT012
        children.start("family", [sys.executable, "-c", FAMILY], tmp_path / "log", os.environ)
        family = pids(tmp_path / "log")
        1 / 0  # noqa: B018
    assert gone(family)


def test_a_parent_killed_without_warning_takes_its_children_along(tmp_path: Path, pids: Pids) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path / "log"), FAMILY])
    family = pids(tmp_path / "log")
    parent.send_signal(signal.SIGKILL)
    parent.wait(180)
    assert gone(family)


def test_the_guard_kills_what_ignores_it_and_lets_go_when_told(tmp_path: Path, pids: Pids) -> None:
    deaf = subprocess.Popen(
        [sys.executable, "-c", FAMILY, "deaf"], start_new_session=True, stdout=(tmp_path / "log").open("wb")
    )
    family = pids(tmp_path / "log")
    guard([f"{deaf.pid}\n", "done\n"], grace_s=0.2)
    time.sleep(0.2)
    assert deaf.poll() is None
    guard([f"{deaf.pid}\n"], grace_s=0.2)
    assert deaf.wait(180) == -signal.SIGKILL
    assert gone(family)
    guard([f"{deaf.pid}\n"], grace_s=0.2)  # a group that is gone is no error


def test_a_child_that_ended_by_itself_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    with Children() as children:
        child = children.start(
            "the thing", [sys.executable, "-c", "import sys; sys.exit('bad key')"], tmp_path / "log", os.environ
        )
        child.process.wait(180)
        with pytest.raises(RunFailedError, match=r"the thing ended by itself \(exit code 1\): bad key"):
            children.check()


def test_the_number_of_a_child_that_has_ended_is_nobody_elses_until_its_group_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever has got it meanwhile would be killed."""
    ended: list[tuple[int, bool]] = []

    def killpg(group: int, number: int) -> None:
        ended.append((group, psutil.pid_exists(group)))
        real(group, number)

    real = os.killpg
    monkeypatch.setattr(os, "killpg", killpg)
    with Children() as children:
        started = [
            children.start("one", [sys.executable, "-c", code], tmp_path / "log", os.environ)
            for code in (
                "import sys; sys.exit(3)",
                "import os; os.kill(os.getpid(), 9)",
                "import time; time.sleep(3600)",
            )
        ]
        while started[0].exit_code is None or started[1].exit_code is None:
            time.sleep(0.01)
        assert [child.exit_code for child in started] == [3, -signal.SIGKILL, None]
    assert ended == [(child.process.pid, True) for child in started]
    assert not any(psutil.pid_exists(child.process.pid) for child in started)
    assert [child.exit_code for child in started] == [3, -signal.SIGKILL, -signal.SIGTERM]


def test_ctrl_c_while_a_child_is_started_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes between the start and the note of it; the child is in a session of its own, and gets none."""
    started: list[int] = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            started.append(self.pid)
            os.kill(os.getpid(), signal.SIGINT)

    with Children() as children:
        monkeypatch.setattr(subprocess, "Popen", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            children.start("x", [sys.executable, "-c", "import time; time.sleep(3600)"], tmp_path / "log", os.environ)
    try:
        assert len(started) == 1
        assert not psutil.pid_exists(started[0])
    finally:
        with suppress(ProcessLookupError):
            os.kill(started[0], signal.SIGKILL)


def test_a_second_ctrl_c_while_children_are_ended_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of them is buried by then: its number may be somebody else's."""
    buried: list[int] = []
    killed: list[int] = []

    def wait(child: "subprocess.Popen[bytes]", *given: Any) -> int:
        code = real_wait(child, *given)
        buried.append(child.pid)
        if len(buried) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return code

    def killpg(group: int, number: int) -> None:
        assert group not in buried
        killed.append(group)
        real_killpg(group, number)

    real_wait, real_killpg = subprocess.Popen.wait, os.killpg
    started: list[int] = []

    def run() -> None:
        with Children() as children:
            for _ in range(3):
                child = children.start("deaf", [sys.executable, "-c", FAMILY, "deaf"], tmp_path / "log", os.environ)
                started.append(child.process.pid)
            monkeypatch.setattr(subprocess.Popen, "wait", wait)
            monkeypatch.setattr(os, "killpg", killpg)

    try:
        with pytest.raises(KeyboardInterrupt):
            run()
        assert killed == started
        assert not any(psutil.pid_exists(pid) for pid in started)
    finally:
        for pid in started:
            with suppress(ProcessLookupError):
                real_killpg(pid, signal.SIGKILL)


def test_a_child_that_the_system_buries_before_it_is_told_to_go_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does where whoever started this program had it ignore SIGCHLD."""
    real = os.kill

    def kill(pid: int, number: int) -> None:
        if (pid, number) == (first, signal.SIGTERM):
            real(pid, signal.SIGKILL)
            while psutil.pid_exists(pid):
                time.sleep(0.005)
        real(pid, number)

    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with Children() as children:
            sleep = [sys.executable, "-c", "import time; time.sleep(3600)"]
            first, second = (children.start("x", sleep, tmp_path / "log", os.environ).process.pid for _ in range(2))
            monkeypatch.setattr(os, "kill", kill)
        assert not psutil.pid_exists(first)
        assert not psutil.pid_exists(second)
    finally:
        signal.signal(signal.SIGCHLD, before)
        with suppress(ProcessLookupError):
            real(second, signal.SIGKILL)


def test_a_log_that_cannot_be_written_is_no_program_that_is_missing(tmp_path: Path) -> None:
    with Children() as children, pytest.raises(FileNotFoundError, match="nowhere"):
        children.start("x", [sys.executable, "-c", ""], tmp_path / "nowhere" / "log", os.environ)


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with Children() as children, pytest.raises(MissingDependencyError, match="flower-nothing"):
        children.start("x", ["/nowhere/flower-nothing"], tmp_path / "log", os.environ)


def test_end_is_content_with_what_is_gone_already() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    handle = psutil.Process(child.pid)
    child.wait(180)
    end([handle], grace_s=0.1)


def test_the_last_lines_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\n\ntwo\n\xff three\n\n")
    assert last_lines(log, 2) == "two\n\N{REPLACEMENT CHARACTER} three"
    assert last_lines(tmp_path / "absent") == ""


def test_a_folder_is_removed_although_a_dying_process_still_writes_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    removals: list[Path] = []
    remove = shutil.rmtree

    def race(path: Path, *, ignore_errors: bool) -> None:
        remove(path, ignore_errors=ignore_errors)
        removals.append(path)
        if len(removals) < 3:
            path.mkdir()
            (path / "late").touch()

    monkeypatch.setattr(shutil, "rmtree", race)
    remove_folder(folder)
    assert not folder.exists()
