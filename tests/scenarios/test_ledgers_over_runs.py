"""ε is spent by data, not by runs: a ledger of a data set goes on from run to run, and refuses when it is used up."""

import json
from pathlib import Path

import pytest

from skerry.config import default_scenario
from skerry.errors import BudgetExceededError, RefusedError
from skerry.runfolder import RunFolder, list_runs
from skerry.security.privacy.ledger import Ledger
from skerry.security.privacy.verification import read_ledger
from skerry.server.launch import launch
from skerry.server.proof import verify_run


@pytest.fixture
def run(tmp_path: Path):
    def started(*settings: str) -> RunFolder:
        ledgers = f"privacy.ledgers={tmp_path / 'ledgers'}"
        given = ["rounds=2", "report.references=false", "attack.devices=0", "privacy.epsilon=4", ledgers, *settings]
        launch(default_scenario(given), engine="inprocess", parent=tmp_path / "runs")
        return list_runs(tmp_path / "runs")[-1]

    return started


def spent(folder: RunFolder) -> dict[str, float]:
    result = json.loads((folder.path / "result.json").read_text())
    return {name: one["epsilon_rdp"] for name, one in result["privacy"]["devices"]["per_device"].items()}


def test_runs_over_the_same_data_spend_one_budget(run, tmp_path: Path):
    first = run("privacy.budget=6")
    second = run("privacy.budget=100", "seed=3", "training.learning_rate=50")
    before, after = spent(first), spent(second)
    assert before.keys() == after.keys()
    assert all(3.9 < before[name] <= 4 < 5 < after[name] <= 6 for name in before)
    store = sorted((tmp_path / "ledgers").glob("*.jsonl"))
    assert len(store) == len(before)
    assert all(read_ledger(path).policy.epsilon == 6 for path in store)  # the first promise binds
    assert {read_ledger(path).policy.data for path in store} == {f"digits/{name}" for name in before}
    for folder in (first, second):  # what a run claimed is proved although its ledgers went on
        assert verify_run(folder, remembered={}, pld=False).failures == ()
    with pytest.raises(BudgetExceededError, match="no device has budget left") as refused:
        run("privacy.budget=100")
    assert refused.value.exit_code == 3
    with pytest.raises(RefusedError) as other:
        run("privacy.delta=1e-6")
    assert other.value.reason == "other_promise"
    with pytest.raises(RefusedError) as renamed:
        run("privacy.data=fresh")
    assert renamed.value.reason == "other_name"
    assert "'digits/writer-00'" in renamed.value.what
    with Ledger.open(store[0]), pytest.raises(RefusedError) as used:
        run()
    assert used.value.reason == "ledger_in_use"
    assert [read_ledger(path).debits for path in store] == [4] * len(store)


def test_devices_rest_between_rounds_and_need_less_noise_for_it(run):
    folder = run("rounds=4", "privacy.min_separation=2", "defence.aggregator=mean", "defence.tolerate=0")
    ledgers = [read_ledger(path) for path in sorted((folder.path / "ledger" / "devices").glob("*.jsonl"))]
    assert {ledger.debits for ledger in ledgers} == {2}
    assert all(3.9 < ledger.spending.epsilon(1e-5) <= 4 for ledger in ledgers)
    cohorts = [set(record.accepted) for record in folder.rounds()]
    assert cohorts[0] == cohorts[2] != cohorts[1] == cohorts[3]
    assert not cohorts[0] & cohorts[1]
    assert verify_run(folder, remembered={}, pld=False).failures == ()


def test_a_delta_that_allows_giving_somebody_away_is_refused_unless_forced(run):
    with pytest.raises(RefusedError) as refused:
        run("privacy.delta=0.009")
    assert refused.value.reason == "delta_too_large"
    assert "publishing one of" in refused.value.what
    assert run("privacy.delta=0.009", "privacy.allow_large_delta=true").status["state"] == "complete"
