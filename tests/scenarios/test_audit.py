"""The audit of a whole run: it finds a broken mechanism, accuses no sound one, and its coins were fixed before."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from skerry.cli.app import app

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = ("privacy.epsilon=1", "attack.devices=0", "report.references=false")


def audited(fault: str, tmp_path: Path, *overrides: str) -> dict:
    program = [sys.executable, BENCHMARKS / "_broken_privacy.py", fault, tmp_path, *SMALL, *overrides]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_without_noise_the_claim_is_refuted(tmp_path):
    found = audited("noise_off", tmp_path, "audit.canaries=100")
    assert found["refuted"]
    assert found["epsilon_lower_bound"] > 3
    assert found["views"]["coordinator"]["attack"]["auc"] > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["noise_halved", "clip_skipped", "weights_not_uniform"])
def test_other_faults_are_found_with_more_canaries(fault, tmp_path):
    assert audited(fault, tmp_path, "privacy.epsilon=4", "audit.canaries=900")["refuted"]


def test_a_sound_run_is_not_refuted_and_its_coins_were_fixed_before(tmp_path):
    run = CliRunner().invoke(
        app,
        ["privacy", "audit", "--canaries", "40", "--runs-dir", str(tmp_path), "--json", "--set", "rounds=4"],
    )
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert not found["refuted"]
    assert found["epsilon_lower_bound"] <= found["epsilon_claimed"]
    assert found["canaries"] == 9 * 40  # of eleven devices two are hostile
    assert 0 < found["inside"] < found["canaries"]
    assert found["canary_cost"]["without"] > 0.8
    # The attacker who sees the updates does better than chance: the audit tests something.
    assert found["views"]["coordinator"]["attack"]["auc"] > 0.6

    folder = tmp_path / found["run"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "What an attack could prove" in page
    verified = CliRunner().invoke(app, ["privacy", "verify", found["run"], "--runs-dir", str(tmp_path), "--json"])
    assert verified.exit_code == 0, verified.output

    opened = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
    first = next(iter(opened["tosses"]))
    coins = opened["tosses"][first]
    opened["tosses"][first] = ("0" if coins[0] == "1" else "1") + coins[1:]
    (folder / "audit.json").write_text(json.dumps(opened), encoding="utf-8")
    verified = CliRunner().invoke(app, ["privacy", "verify", found["run"], "--runs-dir", str(tmp_path), "--json"])
    assert verified.exit_code == 3
    assert "coins" in verified.output


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["--set", "privacy.unit=none"], "needs a claim"),
        (["--canaries", "9999"], "do not fit"),
        (["--kind", "natural", "--canaries", "6000"], "public examples"),
    ],
)
def test_an_audit_that_cannot_be_made_says_why(overrides, said, tmp_path):
    run = CliRunner().invoke(app, ["privacy", "audit", *overrides, "--runs-dir", str(tmp_path), "--json"])
    assert run.exit_code == 2
    assert said in run.output
    assert not list(tmp_path.iterdir()), "nothing half-written"
