"""Killed at any instant, a ledger opens, and it never shows less than what was released."""

import json
import subprocess
import sys
from pathlib import Path

KILLS = 20
PROGRAM = Path(__file__).parents[2] / "benchmarks" / "_kills.py"


def test_killed_at_random_instants_a_ledger_opens_and_counts_every_release(tmp_path):
    done = subprocess.run(
        [sys.executable, PROGRAM, tmp_path, str(KILLS), "20"], capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] == KILLS
    assert found["released"] >= KILLS
    assert found["not_counted"] == 0
    assert found["problems"] == []
