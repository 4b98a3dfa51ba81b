"""Instants of a run, told by its work and not by a clock: a machine that changes its pace changes none of them."""

import time
from pathlib import Path


def come_to(runs: Path, instant: float, a_round_s: float) -> None:
    """Wait until the only run has a ledger and so many finished rounds; a part of a round is waited for by the clock.

    Args:
        runs: the folder that the run's folder is made in.
        instant: in rounds since the ledger was there.
        a_round_s: that a round took when nothing disturbed it.
    """
    end = time.monotonic() + 180
    while not list(runs.glob("*/ledger/population.jsonl")) or _finished(runs) < int(instant):
        assert time.monotonic() < end, "the run does not come to that instant"
        time.sleep(0.002)
    time.sleep(instant % 1 * a_round_s)


def _finished(runs: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in runs.glob("*/rounds.jsonl"))
