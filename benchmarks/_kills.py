"""A device that debits and releases without end, killed at a random instant; and what its ledger counts afterwards.

As a program (``_kills.py FOLDER KILLS SEED``) it prints the aftermath as JSON.
"""

import json
import os
import random
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from skerry.security.privacy import GaussianEvent, Ledger, Policy, verify_ledger
from skerry.syncer import Syncer


@dataclass(frozen=True)
class Aftermath:
    """Over all kills: what had left the device, and of that what a ledger did not count."""

    kills: int
    released: int
    not_counted: int
    problems: tuple[str, ...]


def kill_at_random(folder: Path, kills: int, seed: int) -> Aftermath:
    """Fork a device ``kills`` times and end each by SIGKILL within 20 ms of its first release.

    Every other one waits for the disk while it computes, as devices do. Call it from a process without other threads.
    """
    path, released_path = folder / "ledger.jsonl", folder / "released.txt"
    policy = Policy(unit="example", epsilon=8.0, delta=1e-5, simulated=False)
    Ledger.create(path, scope="device", subject="device", policy=policy, now=0).close()
    released = os.open(released_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    chance, not_counted, left = random.Random(seed), 0, []
    for kill in range(kills):
        before = released_path.stat().st_size
        child = os.fork()
        if child == 0:
            try:
                _device(path, released, f"run-{kill}", behind=kill % 2 == 1)
            finally:
                os._exit(1)
        while released_path.stat().st_size == before and os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.0005)
        time.sleep(chance.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        left = [tuple(text.split()) for text in released_path.read_text().splitlines()]
        with Ledger.open(path) as ledger:
            not_counted += sum(not ledger.has(run, int(number)) for run, number in left)
            assert len(ledger) - 1 <= len(left) + 2 * (kill + 1), "it counts more than the kills can have cut off"
    os.close(released)
    return Aftermath(kills, len(left), not_counted, verify_ledger(path, pld=False).problems)


def _device(path: Path, released: int, run: str, *, behind: bool) -> None:
    with Ledger.open(path) as ledger, Syncer() as syncer:
        for number in range(10**9):
            event = GaussianEvent(1000.0)
            with ledger.debiting(run, number, event, nonce="00", now=number, syncer=syncer if behind else None):
                sum(range(1000))
            os.write(released, f"{run} {number}\n".encode())


if __name__ == "__main__":
    print(json.dumps(asdict(kill_at_random(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))))
