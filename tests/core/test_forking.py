"""Forked processes: their work is waited for or broken off, what they raise is heard, and none is left."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from skerry import forking
from skerry.errors import LedgerCorruptError, RefusedError, RunFailedError
from skerry.forked_pipe import ForkedPipe
from skerry.forking import Beside, Forked, end_all, fork_into


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    before = {process.pid for process in psutil.Process().children()}
    yield
    left = [process for process in psutil.Process().children() if process.pid not in before]
    for process in left:
        process.kill()
    assert not left


def test_a_block_ends_when_all_work_beside_it_is_done(tmp_path: Path) -> None:
    def work(name: str) -> None:
        time.sleep(0.2)
        (tmp_path / name).write_text(str(os.getpid()))

    with Beside() as beside:
        beside.begin(lambda: work("one"))
        beside.begin(lambda: work("two"))
    pids = {(tmp_path / name).read_text() for name in ("one", "two")}
    assert len(pids) == 2
    assert str(os.getpid()) not in pids


def test_what_work_raises_is_raised_where_it_is_waited_for() -> None:
    def refuse() -> None:
        raise RefusedError("wrong_ledger", "it is another's", where="there", mend="take yours")

    with pytest.raises(RefusedError) as caught, Beside() as beside:
        beside.begin(refuse)
    told = caught.value
    assert (told.reason, told.what, told.where, told.mend) == ("wrong_ledger", "it is another's", "there", "take yours")


class NearError(LedgerCorruptError):
    """Of no class that the other process need have loaded."""


def test_an_error_of_another_room_is_heard_as_the_nearest_one_that_all_know() -> None:
    def refuse() -> None:
        raise NearError("broken", "the chain does not hold")

    with pytest.raises(LedgerCorruptError) as caught, Beside() as beside:
        beside.begin(refuse)
    assert type(caught.value) is LedgerCorruptError
    assert (caught.value.exit_code, caught.value.reason, str(caught.value)) == (3, "broken", "the chain does not hold")


def test_a_fault_of_ours_tells_where_it_was_raised() -> None:
    def divide() -> None:
        1 / 0  # noqa: B018 - for what it raises

    with pytest.raises(RuntimeError) as caught, Beside() as beside:
        beside.begin(divide)
    assert str(caught.value) == "ZeroDivisionError: division by zero"  # whoever runs a command reads no traceback
    assert "in divide" in str(caught.value.__notes__)


class OddError(RefusedError):
    """With more of a state than goes between processes as it is."""

    def __init__(self) -> None:
        super().__init__("odd", "it is odd", where="/there/\udcff")
        self.path, self.names, self.few = Path("/here"), {"one"}, [1, 2]


def test_an_error_whose_state_has_no_bytes_is_heard_with_its_words() -> None:
    def refuse() -> None:
        raise OddError

    with pytest.raises(RefusedError) as caught, Beside() as beside:
        beside.begin(refuse)
    told = caught.value
    assert (type(told), told.reason, told.what, told.where) == (RefusedError, "odd", "it is odd", "/there/\\udcff")
    assert (told.__dict__["path"], told.__dict__["names"], told.__dict__["few"]) == ("/here", "{'one'}", [1, 2])


def test_what_the_system_says_is_heard_as_it_is() -> None:
    """The command line tells it otherwise than a fault of ours."""

    def look() -> None:
        Path("/nowhere/at\udcff/all").read_text()

    with pytest.raises(FileNotFoundError) as caught, Beside() as beside:
        beside.begin(look)
    assert (caught.value.errno, caught.value.strerror) == (2, "No such file or directory")
    assert caught.value.filename == "/nowhere/at\\udcff/all"
    assert "in look" in str(caught.value.__notes__)


def test_a_package_that_is_missing_there_is_named_here() -> None:
    def load() -> None:
        raise ModuleNotFoundError("No module named 'ort.x'", name="ort.x")

    with pytest.raises(ModuleNotFoundError, match="ort") as caught, Beside() as beside:
        beside.begin(load)
    assert caught.value.name == "ort.x"


def test_a_fault_with_words_that_have_no_bytes_is_told() -> None:
    def fail() -> None:
        raise ValueError("\udcff")

    with pytest.raises(RuntimeError) as caught, Beside() as beside:
        beside.begin(fail)
    assert str(caught.value) == r"ValueError: \udcff"
    assert "in fail" in str(caught.value.__notes__)


def test_a_fault_that_cannot_tell_what_it_is_is_told_all_the_same() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError

    def fail() -> None:
        raise MuteError

    with pytest.raises(RuntimeError) as caught, Beside() as beside:
        beside.begin(fail)
    assert str(caught.value).startswith("MuteError: ")
    assert "in fail" in str(caught.value.__notes__)


def test_a_block_that_fails_breaks_the_work_off(tmp_path: Path) -> None:
    def work() -> None:
        (tmp_path / "begun").touch()
        time.sleep(600)
        (tmp_path / "done").touch()

    def broken_off() -> None:
        with Beside() as beside:
            beside.begin(work)
            while not (tmp_path / "begun").exists():
                time.sleep(0.005)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert not (tmp_path / "done").exists()


def test_ctrl_c_while_work_is_waited_for_breaks_it_off(tmp_path: Path) -> None:
    parent = os.getpid()

    def work() -> None:
        os.kill(parent, signal.SIGINT)
        time.sleep(600)

    with pytest.raises(KeyboardInterrupt), Beside() as beside:
        beside.begin(work)


def test_a_process_that_dies_is_told() -> None:
    with pytest.raises(RunFailedError, match="has ended"), Beside() as beside:
        beside.begin(lambda: os.kill(os.getpid(), signal.SIGKILL))


def until_closed(pipe: ForkedPipe) -> None:
    with pytest.raises(EOFError):
        pipe.recv_bytes()


def until_it_ends(forked: Forked) -> None:
    process, end = psutil.Process(forked.pid), time.monotonic() + 60
    while process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_process_does_not_hold_the_pipes_of_those_before_it() -> None:
    """Else none of them would see that its pipe is closed, for as long as a later one lives."""
    found: list[Forked] = []
    for _ in range(3):
        fork_into(found, until_closed)
    try:
        found[0].pipe.close()
        until_it_ends(found[0])
    finally:
        for forked in found:
            forked.end(kill=True)


def test_nor_those_of_others_who_fork_from_the_same_process() -> None:
    first: list[Forked] = []
    second: list[Forked] = []
    fork_into(first, until_closed)
    fork_into(second, until_closed)
    try:
        first[0].pipe.close()
        until_it_ends(first[0])
    finally:
        for forked in (*first, *second):
            forked.end(kill=True)


def test_a_second_ctrl_c_while_their_end_is_waited_for_kills_them() -> None:
    parent = os.getpid()

    def linger(pipe: ForkedPipe) -> None:
        until_closed(pipe)
        os.kill(parent, signal.SIGINT)
        time.sleep(600)

    found: list[Forked] = []
    fork_into(found, until_closed)
    fork_into(found, linger)
    fork_into(found, until_closed)
    with pytest.raises(KeyboardInterrupt):
        end_all(found)
    assert found == []


def test_nor_does_a_third_one_leave_any(monkeypatch: pytest.MonkeyPatch) -> None:
    kill = forking._kill
    left: list[int] = []

    def hurried(found: list[Forked]) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0)  # where Python hears of it
        kill(found)
        left.extend(forked.pid for forked in found)

    def wait(_: list[Forked]) -> None:
        monkeypatch.undo()  # the first wait alone is broken off
        monkeypatch.setattr(forking, "_kill", hurried)
        raise KeyboardInterrupt

    found: list[Forked] = []
    for _ in range(2):
        fork_into(found, lambda _: time.sleep(600))
    monkeypatch.setattr(forking, "_wait_for", wait)
    with pytest.raises(KeyboardInterrupt):
        end_all(found)
    assert len(left) == 2


def test_children_that_the_system_reaps_by_itself_are_ended_too() -> None:
    """Whoever started this program may have told so."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with Beside() as beside:
            beside.begin(lambda: None)
        broken_off = Beside()
        broken_off.begin(lambda: time.sleep(600))
        broken_off.__exit__(KeyboardInterrupt, None, None)
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_who_has_no_streams_forks_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    found: list[Forked] = []
    fork_into(found, lambda pipe: pipe.send_bytes(b"there"))
    assert found[0].pipe.recv_bytes() == b"there"
    assert os.waitpid(found[0].pid, 0)[1] == 0
    end_all(found)


def test_what_another_thread_holds_of_a_stream_holds_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that shows progress may wait for a slow terminal in the instant of the fork."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while os.write(writing, bytes(4096)):
            pass
    os.set_blocking(writing, True)
    stream = io.TextIOWrapper(io.BufferedWriter(io.FileIO(writing, "w")))

    def show() -> None:
        stream.write("half of the rounds\n")
        stream.flush()

    thread = threading.Thread(target=show)

    def fork() -> int:
        thread.start()
        time.sleep(0.2)  # by now it waits
        return real()

    real = os.fork
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(os, "fork", fork)
    with Beside() as beside:
        beside.begin(lambda: None)
    assert thread.is_alive()
    os.read(reading, 1 << 20)  # all that it waits for; to read again would wait for what may never come
    thread.join(60)
    assert not thread.is_alive()
    monkeypatch.undo()
    stream.close()
    os.close(reading)


SAYING = """
import sys
from skerry.forking import Beside
print("first", end="; ")
with Beside() as beside:
    beside.begin(lambda: print("second", end="; "))
    beside.begin(lambda: None)
    print("third", end="; ")
print("fourth")
"""


def test_what_is_written_is_written_once_and_what_was_said_before_comes_first() -> None:
    kept_back = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    words = [sys.executable, "-c", SAYING]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=180, env=kept_back)
    assert done.stdout in {"first; second; third; fourth\n", "first; third; second; fourth\n"}, done.stderr


INTERRUPTED = """
import os, signal, threading
from skerry.forking import fork_into
real = os.fork
def fork():
    child = real()
    if child == 0:
        os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C is sent to all processes in front of a terminal
    return child
os.fork = fork
def begin():
    found = []
    fork_into(found, lambda pipe: None)
    found[0].end()
def run():
    try:
        begin()
    finally:
        print("in", os.getpid(), flush=True)
thread = threading.Thread(target=run)
thread.start()
thread.join()
print("of", os.getpid(), flush=True)
"""


def test_ctrl_c_before_a_process_knows_what_it_is_makes_it_no_second_parent() -> None:
    """Elsewhere than in the main thread no handler is put off, and in the child that thread is the main one."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False, timeout=180)
    first, second = done.stdout.splitlines()
    assert (first.split()[0], second.split()[0]) == ("in", "of"), done.stdout
    assert first.split()[1] == second.split()[1]


def test_a_system_that_gives_no_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(RunFailedError, match="does not give another process"), Beside() as beside:
        beside.begin(lambda: None)
