"""A run that was killed goes on where it stopped: the same vector, no round debited, opened or released twice."""

import contextlib
import importlib.util
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest
from typer.testing import CliRunner

from skerry.cli.app import app
from skerry.config import load_scenario, to_toml
from skerry.runfolder import RunFolder, list_runs
from skerry.security.privacy.ledger import Ledger, verify_ledger

from ._instants import come_to

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
_SPEC = importlib.util.spec_from_file_location("skerry_killed_runs", BENCHMARKS / "_killed_runs.py")
killed_runs = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = killed_runs  # dataclasses look their module up
_SPEC.loader.exec_module(killed_runs)
BOUNDARIES, ROUNDS, Nursery, fixed_clip = (
    getattr(killed_runs, name) for name in ("BOUNDARIES", "ROUNDS", "Nursery", "fixed_clip")
)


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    made = Nursery(tmp_path_factory.mktemp("resume"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def device_nursery(tmp_path_factory):
    """Whole devices are protected: the coordinator draws noise, and its ledger is debited."""
    parent = tmp_path_factory.mktemp("resume")
    made = Nursery(parent, str(fixed_clip(parent)))
    yield made
    made.close()


@pytest.fixture(scope="module")
def buffered_nursery(tmp_path_factory):
    """Devices answer when they do, and each step's noise rests on that of the steps before."""
    parent = tmp_path_factory.mktemp("resume")
    correlated = ("privacy.mechanism=matrix_factorization", "privacy.factorization=buffered")
    buffered = ("cohort.mode=buffered", "cohort.buffer=3", "cohort.concurrency=6")
    overrides = (*correlated, *buffered, "privacy.min_separation=2", "privacy.denominator=3")
    path = parent / "buffered.toml"
    path.write_text(to_toml(load_scenario(fixed_clip(parent), overrides)))
    made = Nursery(parent, str(path))
    yield made
    made.close()


def sealed_digest(folder: RunFolder) -> str:
    return sha256((folder.path / "release" / "manifest.cbor").read_bytes()).hexdigest()


def in_registry(folder: RunFolder) -> tuple[list[tuple[int, str, str]], int]:
    """What the fleet's registry has of a run: its verdicts, and how many quarantines they imposed."""
    of_run = "join device d on d.id = o.device join run r on r.id = o.run where r.name = ?"
    with contextlib.closing(sqlite3.connect(folder.path.parent / "registry.sqlite")) as base:
        verdicts = base.execute(f"select o.round, d.name, o.action from outcome o {of_run}", [folder.id]).fetchall()
        (imposed,) = base.execute(f"select count(*) from decision o {of_run}", [folder.id]).fetchone()
    return sorted(verdicts), imposed


def hold_to_the_promise(folder: RunFolder, warm: RunFolder) -> None:
    assert folder.status["state"] == "complete"
    assert [r.vector_digest for r in folder.rounds()] == [r.vector_digest for r in warm.rounds()]
    assert [r.accuracy for r in folder.rounds()] == [r.accuracy for r in warm.rounds()]
    assert [r.bytes_down for r in folder.rounds()] == [r.bytes_down for r in warm.rounds()]
    judged = [[(v["round"], v["device"], v["action"]) for v in run.lines("verdicts.jsonl")] for run in (folder, warm)]
    assert judged[0] == judged[1]
    recorded = in_registry(folder)
    assert recorded == (sorted(judged[0]), sum(action == "quarantine" for *_, action in judged[0]))
    # Nothing but the result's times and the run's own name differs.
    assert json.loads((folder.path / "result.json").read_text())["quality"]["final"] == warm.result["quality"]["final"]
    with Ledger.open(folder.path / "ledger" / "population.jsonl") as ledger:
        kinds = Counter((entry.kind, entry.body.get("round")) for entry in ledger.entries())
        delivered = [entry.body["manifest"] for entry in ledger.entries() if entry.kind == "delivery"]
    assert delivered == [sealed_digest(folder)]
    for number in range(1, ROUNDS + 1):
        assert kinds["round_open", number] == kinds["release", number] == 1
    for path in (folder.path / "ledger" / "devices").glob("*.jsonl"):
        assert not verify_ledger(path).problems
        with Ledger.open(path) as ledger:
            debits = [entry.body["round"] for entry in ledger.entries() if entry.kind == "debit"]
        with Ledger.open(warm.path / "ledger" / "devices" / path.name) as ledger:
            assert debits == [entry.body["round"] for entry in ledger.entries() if entry.kind == "debit"]
    verified = CliRunner().invoke(app, ["privacy", "verify", str(folder.path), "--json"])
    assert verified.exit_code == 0, verified.output


@pytest.mark.parametrize("where", BOUNDARIES)
def test_killed_at_a_boundary_of_stages_it_ends_the_same(where, nursery, tmp_path):
    nursery.begin("RUN", tmp_path, *BOUNDARIES[where])
    assert nursery.end() == -signal.SIGKILL, nursery.tail()
    nursery.begin("RESUME", tmp_path)
    assert nursery.end() == 0, nursery.tail()
    (folder,) = list_runs(tmp_path)
    hold_to_the_promise(folder, nursery.warm)


@pytest.mark.parametrize("where", ["the release is sealed", "the delivery is recorded", "the result is written"])
def test_a_release_that_was_sealed_stays_the_one(where, nursery, tmp_path):
    nursery.begin("RUN", tmp_path, *BOUNDARIES[where])
    assert nursery.end() == -signal.SIGKILL, nursery.tail()
    (folder,) = list_runs(tmp_path)
    sealed = sealed_digest(folder)
    nursery.begin("RESUME", tmp_path)
    assert nursery.end() == 0, nursery.tail()
    assert sealed_digest(folder) == sealed == folder.result["delivery"]["manifest_digest"]
    files = json.loads((folder.path / "release" / "manifest.json").read_text())["files"]
    for file in files:  # what was assembled again is what was sealed before
        assert sha256((folder.path / "model" / file["name"]).read_bytes()).hexdigest() == file["sha256"]


def test_who_has_answered_is_not_asked_again(nursery, tmp_path):
    killed = nursery.begin("RUN", tmp_path, "skerry.server.journal:RoundJournal.add", 7)
    assert nursery.end() == -signal.SIGKILL
    resumed = nursery.begin("RESUME", tmp_path)
    assert nursery.end() == 0, nursery.tail()
    (folder,) = list_runs(tmp_path)
    lines = [line.split() for line in (tmp_path / "asked").read_text().splitlines()]
    first, second = (
        [device for pid, number, device, _ in lines if (int(pid), number) == (process, "1")]
        for process in (killed, resumed)
    )
    devices = {path.parent.name for path in (folder.path / "fleet").glob("*/device.json")}
    assert set(first) == devices
    assert len(second) == len(set(second)) == len(devices) - 7
    nonces = Counter((number, device, nonce) for _, number, device, nonce in lines)
    assert len(nonces) == len({(number, device) for number, device, _ in nonces}), "the same question, twice at most"


def test_receipts_whose_release_was_torn_are_not_recorded_again(nursery, tmp_path):
    nursery.begin("RUN", tmp_path, *BOUNDARIES["the release is recorded"])
    assert nursery.end() == -signal.SIGKILL, nursery.tail()
    (folder,) = list_runs(tmp_path)
    ledger = folder.path / "ledger" / "population.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    assert [json.loads(line)["kind"] for line in lines[-2:]] == ["receipts", "release"]
    ledger.write_bytes(b"".join(lines)[:-9])
    nursery.begin("RESUME", tmp_path)
    assert nursery.end() == 0, nursery.tail()
    hold_to_the_promise(folder, nursery.warm)


def test_an_hour_later_answers_that_came_in_time_still_count(nursery, tmp_path):
    nursery.begin("RUN", tmp_path, "skerry.server.journal:RoundJournal.add", 15)
    assert nursery.end() == -signal.SIGKILL
    nursery.begin("LATER", tmp_path)
    assert nursery.end() == 0, nursery.tail()
    hold_to_the_promise(list_runs(tmp_path)[0], nursery.warm)


@pytest.mark.parametrize(
    ("place", "count"),
    [
        ("skerry.security.privacy.ledger:Ledger.debit", 2),  # debited, and the round is not opened
        ("skerry.server.rounds:make_plan", 2),
        ("skerry.server.journal:RoundJournal.add", 15),
        ("skerry.server.rounds:evaluate_held_out", 4),
    ],
)
def test_where_the_coordinator_adds_the_noise_it_is_the_same(place, count, device_nursery, tmp_path):
    device_nursery.begin("RUN", tmp_path, place, count)
    assert device_nursery.end() == -signal.SIGKILL, device_nursery.tail()
    device_nursery.begin("RESUME", tmp_path)
    assert device_nursery.end() == 0, device_nursery.tail()
    hold_to_the_promise(list_runs(tmp_path)[0], device_nursery.warm)


@pytest.mark.parametrize(
    ("place", "count"),
    [
        ("skerry.server.buffered:make_plan", 3),  # the step is opened
        ("skerry.server.journal:RoundJournal.begin", 3),
        ("skerry.server.journal:RoundJournal.add", 8),
        ("skerry.server.buffered:carry", 2),  # the buffer's state is written, and the step's checkpoint is not
        ("skerry.server.buffered:open_replies", 5),
        ("skerry.server.rounds:carry", 2),  # the same of the noise
        ("skerry.server.rounds:evaluate_held_out", 4),  # the step is released
        ("skerry.server.checkpoint:save_checkpoint", 3),
        ("skerry.server.journal:RoundJournal.drop", 1),
    ],
)
def test_a_buffer_and_correlated_noise_go_on_where_they_were(place, count, buffered_nursery, tmp_path):
    """The same answers meet in the same steps, and each step is released once, with the noise that it had."""
    buffered_nursery.begin("RUN", tmp_path, place, count)
    assert buffered_nursery.end() == -signal.SIGKILL, buffered_nursery.tail()
    (folder,) = list_runs(tmp_path)
    assert {path.stat().st_mode & 0o777 for path in folder.path.glob("round/noise-*")} <= {0o600}
    buffered_nursery.begin("RESUME", tmp_path)
    assert buffered_nursery.end() == 0, buffered_nursery.tail()
    hold_to_the_promise(folder, buffered_nursery.warm)
    met = [[record.extra["staleness"] for record in run.rounds()] for run in (folder, buffered_nursery.warm)]
    assert met[0] == met[1]
    assert max(age for step in met[0] for age in step.values()) >= 1
    assert not (folder.path / "round").exists()  # with it went what tells the noise


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("audit.canaries=5", "an audit's guesses"),
        ("privacy.clip_quantile=0.5", "a clip that follows"),
    ],
)
def test_state_that_is_kept_nowhere_is_not_gone_on_with(override, said, tmp_path):
    base = Path("digits") if override.startswith("audit") else fixed_clip(tmp_path)
    folder = RunFolder.create(tmp_path / "runs", load_scenario(base, [override]), engine="inprocess")
    folder.mark("interrupted")
    run = CliRunner().invoke(app, ["run", "--resume", folder.id, "--runs-dir", str(tmp_path / "runs"), "--json"])
    assert run.exit_code == 3
    assert said in json.loads(run.stdout)["error"]["what"]


def test_killed_at_random_instants_again_and_again_it_ends_the_same(nursery, tmp_path):
    kills = 4
    generator = random.Random(20261126)
    records = nursery.warm.rounds()
    a_round_s = (records[-1].finished_ms - records[0].finished_ms) / 1000 / (ROUNDS - 1)
    done = 0
    for number in range(kills):
        parent = tmp_path / str(number)
        child = nursery.begin("RUN", parent)
        for instant in sorted(generator.uniform(0, ROUNDS) for _ in range(generator.randint(1, 3))):
            come_to(parent, instant, a_round_s)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            if nursery.end() == 0:
                child = None
                break
            child = nursery.begin("RESUME", parent)
        if child is not None:
            assert nursery.end() == 0, nursery.tail()
            done += 1
        (folder,) = list_runs(parent)
        hold_to_the_promise(folder, nursery.warm)
    assert done >= kills // 2, "too few kills fell into a run to show anything"


def test_what_cannot_go_on_says_why(nursery):
    def told(*words: str) -> tuple[int, str]:
        run = CliRunner().invoke(app, ["run", *words, "--runs-dir", str(nursery.parent / "warm"), "--json"])
        return run.exit_code, json.loads(run.stdout)["error"]["what"]

    assert told("--resume", "latest") == (3, "this run is complete")
    assert told("--resume", "nothing-there")[0] == 2
    assert told()[0] == 2
    assert told("digits", "--resume", "latest")[0] == 2
    assert told("--resume", "latest", "--set", "rounds=3") == (2, "a run that goes on keeps its scenario")


@pytest.mark.slow
def test_the_benchmark_finds_what_it_looks_for(tmp_path):
    command = [sys.executable, BENCHMARKS / "resume.py", "instants", "--instants", "9"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=580, env=os.environ)
    assert done.returncode == 0, done.stderr
    claims = {claim["id"]: claim for claim in json.loads(done.stdout)["claims"]}
    assert {name: claim["value"] for name, claim in claims.items()} == {
        "instant_same_vector": 1,
        "instant_verified": 1,
        "instant_counted_once": 0,
    }
    assert claims["instant_same_vector"]["detail"]["kills"] >= 9
