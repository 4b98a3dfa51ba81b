"""A federation as it is in the world: servers, devices that enrol and run as processes of their own, a run."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tomli_w
from typer.testing import CliRunner

from skerry.cli import app
from skerry.clock import system_clock
from skerry.config import Scenario
from skerry.result import load_result
from skerry.security.privacy.verification import read_entries, read_ledger
from skerry.server.launch import launch
from skerry.server.proof import verify_run

from ._enrolled import Up, honest_rounds, up

pytestmark = [pytest.mark.engine]

ANY = {  # whatever else this machine does
    "battery_percent": 0, "busy_percent": 100, "free_disk_mb": 0, "free_memory_mb": 0, "metered": "no",
    "temperature_c": 110,
}  # fmt: skip
PIS = {"pi-1": "writer-00", "pi-2": "writer-01"}


def scenario(*overrides: str) -> Scenario:
    return honest_rounds("cohort.deadline_s=120", *overrides)


def skerry(*words: object) -> dict:
    done = CliRunner().invoke(app, [*map(str, words), "--json"])
    return {"code": done.exit_code, **json.loads(done.stdout)}


@contextmanager
def agent(home: Path, key: Path) -> Iterator[subprocess.Popen]:
    command = [
        sys.executable,
        "-m",
        "skerry.cli",
        "device",
        "run",
        "--home",
        home,
        "--key-file",
        key,
        "--quiet",
        "--json",
    ]
    with (home / "agent.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(180)


def invited(fleet: Up) -> str:
    return fleet.server.office.invite(
        fleet.server.authority, device_class="pi", by="ann", now=system_clock(), life=3_600_000, approve=True,
        address=f"https://{fleet.server.noted.addresses['gateway']}",
    ).text  # fmt: skip


def enrol(fleet: Up, name: str, key: Path, given: Scenario) -> Path:
    """By the command that a person types, with the terms that a person would write."""
    terms = {
        "task": {"name": given.task.name, "holder": PIS[name]},
        "model": given.model.model_dump(mode="json", exclude_none=True),
        "privacy": {"unit": "example", "epsilon": 20.0, "delta": 1e-5},  # two runs of 8, and a little
        "conditions": ANY,
    }
    written = fleet.runs / f"{name}.toml"
    written.write_text(tomli_w.dumps(terms))
    home = fleet.runs / "homes" / name
    said = skerry(
        "device", "enrol", invited(fleet), "--home", home, "--name", name, "--key-file", key, "--terms", written
    )
    assert said["step"] == "enrolled", said
    return home


def test_two_agents_enrol_train_two_rounds_and_one_of_them_is_revoked(tmp_path: Path):
    key = tmp_path / "key-file"
    key.write_bytes(os.urandom(32))
    key.chmod(0o600)
    given = scenario(f"cohort.at_least={len(PIS)}", "cohort.patience_s=120")
    with up(tmp_path / "runs") as fleet:
        homes = {name: enrol(fleet, name, key, given) for name in PIS}
        with agent(homes["pi-1"], key), agent(homes["pi-2"], key) as second:
            folder = launch(given, engine="fleet", parent=fleet.runs)
            rounds = [(record.accepted, dict(record.dropped)) for record in folder.rounds()]
            assert rounds == [(tuple(PIS), {})] * 2
            skerry("fleet", "revoke", "pi-2", "--reason", "lost", "--runs-dir", fleet.runs)
            again = launch(scenario("rounds=1", "cohort.patience_s=120"), engine="fleet", parent=fleet.runs)
            (record,) = again.rounds()
            assert (record.accepted, dict(record.dropped)) == (("pi-1",), {})
            assert second.poll() is None
        turned_away = skerry("device", "enrol", "--home", homes["pi-2"], "--key-file", key, "--renew")
        assert (turned_away["code"], turned_away["error"]["reason"]) == (3, "revoked")
        assert verify_run(folder, remembered={}, pld=False).holds
    result = load_result(folder.path)
    assert (result.run.state, result.run.simulated) == ("complete", False)
    assert result.delivery is not None
    assert result.delivery.recipients == len(PIS)
    for name in PIS:
        account = read_ledger(homes[name] / "ledger.jsonl")
        assert account.debits == (2 if name == "pi-2" else 3)
        heads = {entry.hash for entry in read_entries(homes[name] / "ledger.jsonl")[0]}
        assert result.privacy.devices.per_device[name].head in heads
        assert not account.policy.simulated
    assert "What is not known" in (folder.path / "report.html").read_text("utf-8")
