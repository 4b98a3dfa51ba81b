"""Killed at any instant, a ledger opens, and it never shows less than what was released."""

import os
import random
import signal
import time

from skerry.security.privacy import GaussianEvent, Ledger, Policy, verify_ledger

KILLS = 20


def _device(path, released, run):
    """What a device does, without end: debit, then release."""
    with Ledger.open(path) as ledger:
        for round_ in range(10**9):
            ledger.debit(run, round_, GaussianEvent(1000.0), nonce="00", now=round_)
            os.write(released, f"{run} {round_}\n".encode())


def test_killed_at_random_instants_a_ledger_opens_and_counts_every_release(tmp_path):
    path, released_path = tmp_path / "ledger.jsonl", tmp_path / "released.txt"
    policy = Policy(unit="example", epsilon=8.0, delta=1e-5, simulated=False)
    Ledger.create(path, scope="device", subject="writer-00", policy=policy, now=0).close()
    released = os.open(released_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    chance = random.Random(20)
    for kill in range(KILLS):
        before = released_path.stat().st_size
        child = os.fork()
        if child == 0:
            try:
                _device(path, released, f"run-{kill}")
            finally:
                os._exit(1)
        while released_path.stat().st_size == before and os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.0005)
        time.sleep(chance.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        with Ledger.open(path) as ledger:
            lines = released_path.read_text().splitlines()
            left = [tuple(line.split()) for line in lines]
            assert all(ledger.has(run, int(round_)) for run, round_ in left)
            assert sum(event.steps for event in ledger.events()) >= len(left)
            assert len(ledger) - 1 <= len(left) + kill + 1  # at most the one debit that each kill cut off
    os.close(released)
    assert verify_ledger(path, pld=False).problems == ()
