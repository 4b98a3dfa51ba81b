"""The audit of a whole run: it finds a broken mechanism, accuses no sound one, and its coins were fixed before."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
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


@pytest.fixture(scope="module")
def audited_run(tmp_path_factory) -> Path:
    """A sound run under audit; ``printed.json`` is what the command said."""
    parent = tmp_path_factory.mktemp("audited")
    run = CliRunner().invoke(
        app, ["privacy", "audit", "--canaries", "40", "--runs-dir", str(parent), "--json", "--set", "rounds=4"]
    )
    assert run.exit_code == 0, run.output
    folder = parent / json.loads(run.stdout)["run"]
    (folder / "printed.json").write_text(run.stdout, encoding="utf-8")
    return folder


def verify(folder: Path) -> Result:
    return CliRunner().invoke(app, ["privacy", "verify", str(folder), "--json"])


def test_a_sound_run_is_not_refuted_and_its_coins_were_fixed_before(audited_run):
    found = json.loads((audited_run / "printed.json").read_text(encoding="utf-8"))
    assert not found["refuted"]
    assert found["epsilon_lower_bound"] <= found["epsilon_claimed"]
    assert found["canaries"] == 9 * 40  # of eleven devices two are hostile
    assert 0 < found["inside"] < found["canaries"]
    assert found["canary_cost"]["without"] > 0.8
    # The attacker who sees the updates does better than chance: the audit tests something.
    assert found["views"]["coordinator"]["attack"]["auc"] > 0.6

    page = (audited_run / "report.html").read_text(encoding="utf-8")
    assert "What an attack could prove" in page
    verified = verify(audited_run)
    assert verified.exit_code == 0, verified.output


def flipped(opened: dict) -> dict:
    first = next(iter(opened["tosses"]))
    coins = opened["tosses"][first]
    return opened | {"tosses": opened["tosses"] | {first: ("0" if coins[0] == "1" else "1") + coins[1:]}}


ALTERED = {
    "the opened coins are gone": ("audit.json", lambda _: None, "audit.json is gone"),
    "other coins": ("audit.json", flipped, "coins are not those"),
    "no coins": ("audit.json", lambda opened: opened | {"tosses": "none"}, "cannot be checked"),
    "better figures": (
        "audit.json",
        lambda opened: opened | {"found": opened["found"] | {"epsilon_lower_bound": 0.01}},
        "figures of the audit",
    ),
    "a result that keeps quiet": (
        "result.json",
        lambda result: result | {"privacy": result["privacy"] | {"audit": None}},
        "says nothing of the audit",
    ),
}


@pytest.mark.parametrize("altered", ALTERED)
def test_an_audit_that_does_not_fit_its_ledger_is_found(altered, audited_run):
    name, change, said = ALTERED[altered]
    kept = (audited_run / name).read_bytes()
    value = change(json.loads(kept))
    (audited_run / name).unlink()
    if value is not None:
        (audited_run / name).write_text(json.dumps(value), encoding="utf-8")
    try:
        checked = verify(audited_run)
    finally:
        (audited_run / name).write_bytes(kept)
    assert checked.exit_code == 3
    assert said in checked.output


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
