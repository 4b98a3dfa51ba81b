"""Where ByzFL is right its results are ours; needs `make bench-setup`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
WORKER = ROOT / "benchmarks" / "_robust_worker.py"
PEERS = ROOT / ".venv-bench" / "bin" / "python"
RULES = (
    *("mean", "median", "trimmed_mean", "meamed", "monna", "centred_clipping", "krum_of_the_paper"),
    *("multi_krum_of_the_paper", "nnm+mean", "nnm+trimmed_mean", "arc+trimmed_mean", "clipping+mean"),
)


def results(python: str | Path, library: str) -> list[dict[str, Any]]:
    asked = "".join(json.dumps({"do": "results", "rule": rule}) + "\n" for rule in RULES)
    done = subprocess.run(
        [python, WORKER, library, "4", "8", "1"],
        input=asked,
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return [json.loads(line) for line in done.stdout.splitlines()[1:]]


@pytest.mark.slow
@pytest.mark.skipif(not (PEERS.exists() and any(PEERS.parents[1].glob("lib/*/site-packages/byzfl"))), reason="no ByzFL")
def test_two_hundred_random_cases_of_each_rule_agree_with_byzfl() -> None:
    for rule, ours, theirs in zip(RULES, results(sys.executable, "skerry"), results(PEERS, "byzfl-numpy"), strict=True):
        assert len(ours["results"]) == 200
        for a, b, scale in zip(ours["results"], theirs["results"], ours["scales"], strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * scale, err_msg=rule)
