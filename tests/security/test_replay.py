"""Promises of the replay guard: each message once, bounded, surviving restarts and clocks that are set back."""

import json
import subprocess
import sys
import threading

import pytest

from skerry.errors import EnvelopeRefusedError
from skerry.security import ReplayGuard


@pytest.fixture(params=["memory", "file"])
def guard(request, tmp_path):
    return ReplayGuard(tmp_path / "seen.json" if request.param == "file" else None, per_sender=4)


def _reason(call, *args, **kwargs):
    with pytest.raises(EnvelopeRefusedError) as caught:
        call(*args, **kwargs)
    return caught.value.reason


def test_a_nonce_counts_once_for_each_sender(guard):
    guard.claim("ann", b"1", until=10, now=0)
    assert _reason(guard.claim, "ann", b"1", until=10, now=9) == "replayed"
    guard.claim("bob", b"1", until=10, now=0)
    guard.claim("ann", b"2", until=10, now=0)


def test_a_sender_that_floods_costs_only_itself(guard):
    for i in range(4):
        guard.claim("eve", bytes([i]), until=10, now=0)
    assert _reason(guard.claim, "eve", b"more", until=10, now=9) == "too_many"
    guard.claim("ann", b"1", until=10, now=9)
    guard.claim("eve", b"more", until=20, now=10)  # the four have expired


def test_what_was_forgotten_stays_refused_when_the_clock_goes_back(guard):
    for i in range(4):
        guard.claim("ann", bytes([i]), until=10, now=0)
    guard.claim("ann", b"later", until=100, now=50)
    assert _reason(guard.claim, "ann", b"\0", until=10, now=0) == "expired"
    assert _reason(guard.claim, "ann", b"later", until=100, now=0) == "replayed"


def test_a_restart_forgets_nothing(tmp_path):
    path = tmp_path / "deep" / "seen.json"
    ReplayGuard(path).claim("ann", b"1", until=10, now=0)
    assert _reason(ReplayGuard(path).claim, "ann", b"1", until=10, now=0) == "replayed"
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_file_does_not_grow_with_expired_messages(tmp_path):
    guard = ReplayGuard(tmp_path / "seen.json")
    for i in range(50):
        guard.claim(f"device-{i}", bytes([i]), until=i + 1, now=i)
    assert len(json.loads((tmp_path / "seen.json").read_text())["nonces"]) == 1


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 9}', '{"schema": 1, "forgotten": 0, "nonces": []}'])
def test_a_damaged_memory_is_refused_not_forgotten(tmp_path, text):
    path = tmp_path / "seen.json"
    path.write_text(text)
    assert _reason(ReplayGuard(path).claim, "ann", b"1", until=10, now=0) == "replay_state"
    assert path.read_text() == text


def test_of_many_threads_one_wins(guard):
    won = []

    def claim():
        try:
            guard.claim("ann", b"1", until=10, now=0)
            won.append(1)
        except EnvelopeRefusedError:
            pass

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_of_many_processes_one_wins(tmp_path):
    code = (
        "import sys, pathlib\n"
        "from skerry.errors import EnvelopeRefusedError\n"
        "from skerry.security.replay import ReplayGuard\n"
        "guard, won = ReplayGuard(pathlib.Path(sys.argv[1])), 0\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read(1)\n"
        "for i in range(20):\n"
        "    try:\n"
        "        guard.claim('ann', bytes([i]), until=10, now=0)\n"
        "        won += 1\n"
        "    except EnvelopeRefusedError as error:\n"
        "        assert error.reason == 'replayed'\n"
        "print(won)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "seen.json")]
    racers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)]
    for racer in racers:
        assert racer.stdout.readline() == b"ready\n"
    for racer in racers:
        racer.stdin.write(b"x")
        racer.stdin.flush()
    assert sum(int(racer.communicate(timeout=180)[0]) for racer in racers) == 20
