"""A run over enrolled devices: who takes part, who does not, and what is known of them afterwards."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from skerry.config import Scenario, default_scenario
from skerry.result import load_result
from skerry.server.launch import launch
from skerry.server.proof import verify_run

from ._enrolled import Up, up

pytestmark = [pytest.mark.engine, pytest.mark.timeout(280)]

NAMES = ("writer-00", "writer-01", "writer-02")


def scenario(*overrides: str) -> Scenario:
    return default_scenario([
        "rounds=2",
        "attack.kind=none",
        "attack.devices=0",
        "defence.aggregator=mean",
        "defence.tolerate=0",
        "report.references=false",
        "cohort.deadline_s=30",
        "cohort.patience_s=1",
        *overrides,
    ])  # fmt: skip


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("runs")) as found:
        for name in NAMES:
            found.enrol(name, scenario())
        yield found


def skerry(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "skerry.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_enrolled_devices_train_without_a_seed_and_their_data_stay_with_them(fleet: Up):
    folder = launch(scenario(), engine="fleet", parent=fleet.runs)
    result = load_result(folder.path)
    assert (result.run.state, result.run.engine, result.run.simulated) == ("complete", "fleet", False)
    assert [record.accepted for record in folder.rounds()] == [NAMES, NAMES]
    assert result.delivery is not None
    assert result.delivery.recipients == len(NAMES)
    assert not list((folder.path / "ledger" / "devices").glob("*"))
    assert sorted(p.name for p in (folder.path / "fleet").iterdir()) == [
        "coordinator.public.json", "devices.public.json",
    ]  # fmt: skip
    assert {quality.role for quality in result.quality.devices.values()} == {"held_out"}
    assert (result.defence.attack, result.defence.false_quarantines) == ("unknown", None)
    for name in NAMES:
        with fleet.devices[name].ledger() as ledger:
            claim = result.privacy.devices.per_device[name]
            assert claim.epsilon_rdp == pytest.approx(ledger.epsilon())
            assert claim.rounds == 2
            assert claim.head == ledger.last_debit().hash
    page = (folder.path / "report.html").read_text("utf-8")
    assert "What is not known" in page
    assert "simulated" not in page
    assert json.loads(skerry("privacy", "verify", folder.path, "--json").stdout)["ok"] is True
    shown = json.loads(skerry("privacy", "show", folder.path, "--json").stdout)
    assert {device: one["receipts"] for device, one in shown["asked"].items()} == dict.fromkeys(NAMES, 2)


def test_a_claim_that_the_ledger_does_not_hold_is_found(fleet: Up):
    folder = launch(scenario("rounds=1"), engine="fleet", parent=fleet.runs)
    path = folder.path / "result.json"
    told = json.loads(path.read_text())
    told["privacy"]["devices"]["per_device"]["writer-00"]["epsilon_rdp"] /= 2
    path.write_text(json.dumps(told))
    proof = verify_run(folder, remembered={}, pld=False)
    assert any("writer-00" in failure.what for failure in proof.failures)
