"""A run that was killed goes on where it stopped: the same vector, no round debited, opened or released twice."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections import Counter
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import pytest
from typer.testing import CliRunner

from skerry.cli.app import app
from skerry.config import load_scenario
from skerry.runfolder import RunFolder, list_runs
from skerry.security.privacy.ledger import Ledger, verify_ledger

ROUNDS = 4

# A warm process that forks one child a command: RUN FOLDER [PLACE COUNT], where the child kills itself when a function
# has returned so many times, RESUME FOLDER, or LATER FOLDER, which resumes an hour later.
NURSERY = """
import importlib, os, signal, sys, traceback
from pathlib import Path
from skerry.config import load_scenario
from skerry.device.worker import process_worker
from skerry import clock
from skerry.server import mailbox as app
from skerry.server.launch import launch, resume

scenario = load_scenario(Path(sys.argv[2]), ["rounds=ROUNDS", "training.epochs=1", "report.references=false"])
launch(scenario, engine="inprocess", parent=Path(sys.argv[1]) / "warm")
process_worker().residents.clear()

def deadly(place, count):
    module, _, path = place.partition(":")
    holder = importlib.import_module(module)
    *owners, name = path.split(".")
    for owner in owners:
        holder = getattr(holder, owner)
    plain = getattr(holder, name)
    left = [int(count)]
    def wrapped(*args, **named):
        out = plain(*args, **named)
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return out
    setattr(holder, name, wrapped)

def obey(command, parent, *place):
    if command == "RUN":
        if place:
            deadly(*place)
        launch(scenario, engine="inprocess", parent=Path(parent))
        return
    if command == "LATER":
        later = lambda: clock.system_clock() + 3_600_000
        for name in ("skerry.server.launch", "skerry.server.app", "skerry.device.app"):
            importlib.import_module(name).system_clock = later
    asked = []
    plain = app.Mailbox.send
    def send(self, contents, kind, *, ttl_s):
        asked.extend(contents if kind == "train" else ())
        return plain(self, contents, kind, ttl_s=ttl_s)
    app.Mailbox.send = send
    folder = resume("latest", parent=Path(parent))
    (folder.path / "asked").write_text(" ".join(asked))

print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            obey(*line.split())
        except BaseException:
            traceback.print_exc()
            os._exit(1)  # an ordinary exit would wait for threads that a fork leaves behind
        os._exit(0)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""

BOUNDARIES = {
    "the population's ledger exists": ("skerry.server.federation:read_past", 1),
    "the round is opened": ("skerry.server.rounds:make_plan", 2),
    "the instructions are written": ("skerry.server.journal:RoundJournal.begin", 2),
    "a device has debited": ("skerry.security.privacy.ledger:Ledger._append", 28),
    "some answers are here": ("skerry.server.journal:RoundJournal.add", 15),
    "all answers are here": ("skerry.server.rounds:collect", 2),
    "the answers are opened": ("skerry.server.rounds:open_replies", 2),
    "the screen has judged": ("skerry.server.rounds:screen", 3),
    "the rule has run": ("skerry.server.rounds:aggregate", 3),
    "the release is recorded": ("skerry.server.rounds:evaluate_held_out", 4),
    "the checkpoint is written": ("skerry.server.checkpoint:save_checkpoint", 2),
    "the last round is over": ("skerry.server.journal:RoundJournal.drop", 1),
    "the release is sealed": ("skerry.server.finish:publish", 1),
    "the delivery is recorded": ("skerry.server.finish:_release", 1),
    "the result is written": ("skerry.server.finish:write_result", 1),
}


class Nursery:
    def __init__(self, parent: Path, scenario: str = "digits") -> None:
        self.parent = parent
        self.log = (parent / "nursery.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(NURSERY.replace("ROUNDS", str(ROUNDS))), str(parent), scenario],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdout.readline() == "ready\n", self.tail()
        self.warm = list_runs(parent / "warm")[0]

    def tail(self) -> str:
        return (self.parent / "nursery.log").read_text()[-3000:]

    def begin(self, *words: object) -> int:
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self) -> int:
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(30)
        self.log.close()


def fixed_clip(folder: Path) -> Path:
    """The shipped ``digits_devices`` with one clip for the whole run, and a server that carries both moments on."""
    lines = (files("skerry.config") / "digits_devices.toml").read_text("utf-8").splitlines()
    path = folder / "fixed_clip.toml"
    text = "\n".join(line for line in lines if "clip_quantile" not in line)
    carried = '[training]\nserver_optimizer = "fedyogi"\nserver_momentum = 0.9\nserver_learning_rate = 0.05'
    path.write_text(text.replace("[training]", carried, 1))
    return path


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
    nursery.begin("RUN", tmp_path, "skerry.server.journal:RoundJournal.add", 7)
    assert nursery.end() == -signal.SIGKILL
    nursery.begin("RESUME", tmp_path)
    assert nursery.end() == 0, nursery.tail()
    (folder,) = list_runs(tmp_path)
    asked = (folder.path / "asked").read_text().split()
    devices = len(list((folder.path / "fleet").glob("*/device.json")))
    assert len(asked) == len(asked[: devices - 7]) + sum(len(r.accepted) + len(r.dropped) for r in folder.rounds()[1:])
    assert len(set(asked[: devices - 7])) == devices - 7


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
    ("override", "said"),
    [
        ("audit.canaries=5", "an audit's guesses"),
        ("privacy.mechanism=matrix_factorization", "correlated noise"),
        ("privacy.clip_quantile=0.5", "a clip that follows"),
    ],
)
def test_state_that_is_kept_nowhere_is_not_gone_on_with(override, said, tmp_path):
    base = Path("digits") if override.startswith("audit") else fixed_clip(tmp_path)
    more = ["privacy.min_separation=2"] if "matrix" in override else []
    folder = RunFolder.create(tmp_path / "runs", load_scenario(base, [override, *more]), engine="inprocess")
    folder.mark("interrupted")
    run = CliRunner().invoke(app, ["run", "--resume", folder.id, "--runs-dir", str(tmp_path / "runs"), "--json"])
    assert run.exit_code == 3
    assert said in json.loads(run.stdout)["error"]["what"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kills", [6, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_at_random_instants_again_and_again_it_ends_the_same(kills, nursery, tmp_path):
    generator = random.Random(20261126)
    records = nursery.warm.rounds()
    length = (records[-1].finished_ms - records[0].finished_ms) / 1000 * ROUNDS / (ROUNDS - 1)
    done = 0
    for number in range(kills):
        parent = tmp_path / str(number)
        child = nursery.begin("RUN", parent)
        begin = time.monotonic()
        while not list(parent.glob("*/ledger/population.jsonl")) and time.monotonic() - begin < 20:
            time.sleep(0.002)
        for _ in range(generator.randint(1, 3)):
            time.sleep(generator.uniform(0, length))
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
    assert done >= kills // 3, "too few kills fell into a run to show anything"


def test_what_cannot_go_on_says_why(nursery):
    def told(*words: str) -> tuple[int, str]:
        run = CliRunner().invoke(app, ["run", *words, "--runs-dir", str(nursery.parent / "warm"), "--json"])
        return run.exit_code, json.loads(run.stdout)["error"]["what"]

    assert told("--resume", "latest") == (3, "this run is complete")
    assert told("--resume", "nothing-there")[0] == 2
    assert told()[0] == 2
    assert told("digits", "--resume", "latest")[0] == 2
    assert told("--resume", "latest", "--set", "rounds=3") == (2, "a run that goes on keeps its scenario")
