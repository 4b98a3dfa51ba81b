"""The benchmark ``faults``, short: one fault of each kind, and none of what must never happen."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .test_disk_full import may_mount

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "faults.py"
KINDS, ROUNDS, DEVICES = 8, 11, 3
NEVER = {"ledger_undercounts", "replies_applied_twice", "stale_replies_used", "vectors_unexplained", "proof_failures"}


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.timeout(900)
def test_a_federation_outlives_one_fault_of_each_kind(tmp_path: Path):
    if not may_mount(tmp_path):
        pytest.skip("this system lets no ordinary user mount a file system of its own")
    words = ["--rounds", ROUNDS, "--faults", KINDS, "--devices", DEVICES, "--keep", tmp_path / "kept"]
    command = [sys.executable, BENCHMARK, *words]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=880, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    claims = {claim["id"]: claim for claim in json.loads(done.stdout)["claims"]}
    assert claims["faults_injected"]["value"] == KINDS
    assert set(claims["faults_injected"]["detail"]["faults"].values()) == {1}
    assert claims["rounds_finished"]["value"] == ROUNDS
    assert {name: claims[name]["value"] for name in NEVER} == dict.fromkeys(NEVER, 0), done.stdout
    assert min(claims["faults_injected"]["detail"]["accepted"].values()) > 0
    assert claims["devices_back"]["value"] == DEVICES
