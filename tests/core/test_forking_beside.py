"""Two threads of a program, of which one forks a process that lives on: the other's ends and locks are its own."""

import gc
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from skerry.errors import RefusedError
from skerry.forked_pipe import ForkedPipe
from skerry.forking import Forked, end_all, fork_into
from skerry.security.locking import exclusive, is_held
from skerry.security.privacy.ledger import Ledger, Policy


def until_closed(pipe: ForkedPipe) -> None:
    with pytest.raises(EOFError):
        pipe.recv_bytes()


@contextmanager
def lives_on() -> Iterator[None]:
    """A forked process, which has all that is open here, until the end of the block."""
    found: list[Forked] = []
    fork_into(found, until_closed)
    try:
        yield
    finally:
        end_all(found, kill=True)


def test_a_process_that_is_forked_while_others_are_ended_does_not_hold_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Theirs would be waited for until it ends."""
    ours: list[Forked] = []
    theirs: list[Forked] = []
    begun, forked, over = threading.Event(), threading.Event(), threading.Event()

    def fork() -> None:
        begun.set()
        fork_into(theirs, until_closed)
        forked.set()
        over.wait(120)  # the process ends with its thread
        end_all(theirs, kill=True)

    thread = threading.Thread(target=fork)
    real = ForkedPipe.close

    def close(pipe: ForkedPipe) -> None:
        if threading.current_thread() is threading.main_thread() and not begun.is_set():
            thread.start()
            begun.wait(60)
            forked.wait(0.5)  # it comes in between, if it can
        real(pipe)

    fork_into(ours, until_closed)
    ended = threading.Thread(target=lambda: over.wait(60) or over.set())  # so that a failure ends
    ended.start()
    monkeypatch.setattr(ForkedPipe, "close", close)
    end_all(ours)
    waited_for_it = over.is_set()
    over.set()
    thread.join(60)
    ended.join(60)
    assert forked.is_set()
    assert not waited_for_it


def test_a_lock_is_free_after_its_block_although_a_process_that_was_forked_within_lives_on(tmp_path: Path) -> None:
    with exclusive(tmp_path / "file"):
        beside = lives_on()
        beside.__enter__()
        assert is_held(tmp_path / "file")
    try:
        assert not is_held(tmp_path / "file")
        with exclusive(tmp_path / "file", patient=False):
            pass
    finally:
        beside.__exit__(None, None, None)


def test_a_forked_process_frees_no_lock_of_its_parent(tmp_path: Path) -> None:
    block = exclusive(tmp_path / "file")

    def leave(pipe: ForkedPipe) -> None:
        block.__exit__(None, None, None)
        pipe.send_bytes(b"left")

    found: list[Forked] = []
    with block:
        fork_into(found, leave)
        assert found[0].pipe.recv_bytes() == b"left"
        end_all(found)
        assert is_held(tmp_path / "file")


def test_a_ledger_that_is_closed_is_nobodys_although_a_process_that_was_forked_meanwhile_lives_on(
    tmp_path: Path,
) -> None:
    path = tmp_path / "writer-00.jsonl"
    policy = Policy(unit="example", epsilon=1.0, delta=1e-5, simulated=True)
    ledger = Ledger.create(path, scope="device", subject="writer-00", policy=policy, now=1)
    found: list[Forked] = []

    def close(pipe: ForkedPipe) -> None:
        ledger.close()
        pipe.send_bytes(b"%d" % os.getpid())
        until_closed(pipe)

    fork_into(found, close)
    try:
        assert found[0].pipe.recv_bytes() == b"%d" % found[0].pid
        with pytest.raises(RefusedError) as refused:  # what the other has closed was not its own
            Ledger.open(path)
        assert refused.value.reason == "ledger_in_use"
        with lives_on():
            ledger.close()
            Ledger.open(path).close()
    finally:
        end_all(found, kill=True)


def test_a_process_of_which_nobody_knows_any_more_ends() -> None:
    """Ctrl-C may come in the instant in which its end is called, and be raised before that does anything."""
    pids: list[int] = []

    def interrupted(_: list[Forked]) -> None:
        raise KeyboardInterrupt

    def run() -> None:
        found: list[Forked] = []
        try:
            fork_into(found, until_closed)
            pids.append(found[0].pid)
        finally:
            interrupted(found)

    with pytest.raises(KeyboardInterrupt):
        run()
    gc.collect()
    ended = threading.Timer(60, os.kill, (pids[0], signal.SIGKILL))
    ended.start()
    code = os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1])
    ended.cancel()
    assert code == 0
