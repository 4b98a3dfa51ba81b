"""Killed at any instant, a run leaves ledgers that open, and none of them counts less than what left the device."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from skerry.runfolder import RunFolder, list_runs
from skerry.security.privacy.ledger import Ledger, verify_ledger
from skerry.server.proof import verify_run

from ._instants import come_to

KILLS, ROUNDS = 20, 8

# A warm process that forks one child a run, so that the instants fall into the run and not into imports.
NURSERY = f"""
import os, sys
from pathlib import Path
from skerry.config import default_scenario
from skerry.device.worker import process_worker
from skerry.server.launch import launch

scenario = default_scenario(["rounds={ROUNDS}", "training.epochs=1", "report.references=false"])
parent = Path(sys.argv[1])
launch(scenario, engine="inprocess", parent=parent / "warm")
process_worker().residents.clear()
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        launch(scenario, engine="inprocess", parent=parent / line.strip())
        os._exit(0)
    print(child, flush=True)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""


@pytest.fixture
def nursery(tmp_path: Path):
    log = (tmp_path / "nursery.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(NURSERY), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", (tmp_path / "nursery.log").read_text()[-2000:]
    yield process
    assert process.stdin is not None
    process.stdin.close()
    process.wait(180)
    log.close()


def arrived(folder: RunFolder) -> dict[str, set[int]]:
    """Rounds in which an update of each device reached the coordinator, by the coordinator's durable records."""
    found: dict[str, set[int]] = {}
    for verdict in folder.lines("verdicts.jsonl"):
        found.setdefault(verdict["device"], set()).add(verdict["round"])
    return found


def check(folder: RunFolder) -> int:
    """Hold a killed run to the promise; returns the number of updates that had left a device.

    What it left is proved as a whole run's ledgers are: checkpoint, receipts, releases.
    """
    if (folder.path / "ledger").exists():
        assert verify_run(folder, remembered={}, pld=False).failures == ()
    released = 0
    reached = arrived(folder)
    receipts: dict[str, set[str]] = {}
    members: dict[str, str] = {}
    population = folder.path / "ledger" / "population.jsonl"
    if population.exists():
        assert not verify_ledger(population).problems
        with Ledger.open(population) as ledger:
            for entry in ledger.entries():
                if entry.kind == "member":
                    members[str(entry.seq)] = entry.body["device"]
                if entry.kind == "receipts":
                    for member, receipt in entry.body["receipts"].items():
                        receipts.setdefault(members[member], set()).add(receipt["leaf"])
    for path in sorted((folder.path / "ledger" / "devices").glob("*.jsonl")):
        report = verify_ledger(path)
        assert not report.problems
        with Ledger.open(path) as ledger:
            debited = {entry.body["round"]: entry.hash for entry in ledger.entries() if entry.kind == "debit"}
        assert reached.get(path.stem, set()) <= debited.keys()
        assert receipts.get(path.stem, set()) <= set(debited.values())
        released += len(receipts.get(path.stem, set()))
    return released


def test_no_ledger_counts_less_than_what_left_the_device(nursery, tmp_path: Path):
    warm = list_runs(tmp_path / "warm")[0]
    records = warm.rounds()
    a_round_s = (records[-1].finished_ms - records[0].finished_ms) / 1000 / (len(records) - 1)
    assert check(warm) == sum(len(a) for a in arrived(warm).values())
    generator = random.Random(20260101)
    unfinished = released = 0
    for number in range(KILLS):
        nursery.stdin.write(f"{number}\n")
        nursery.stdin.flush()
        child = int(nursery.stdout.readline())
        population = tmp_path / str(number)
        come_to(population, generator.uniform(0, ROUNDS), a_round_s)
        with contextlib.suppress(ProcessLookupError):  # it was done before the instant came
            os.kill(child, signal.SIGKILL)
        assert nursery.stdout.readline() == "gone\n"
        for folder in list_runs(population):
            released += check(folder)
            unfinished += folder.status["state"] != "complete"
            json.loads((folder.path / "status.json").read_text())
    assert unfinished >= KILLS // 2, "too few kills fell into a run to show anything"
    assert released > 0
