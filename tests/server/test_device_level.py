"""A federation under device-level privacy, end to end: who is drawn, what is debited where, and that bad updates do
not end it."""

import itertools
import math

import numpy as np
import pytest

from skerry.clock import system_clock
from skerry.config import default_scenario
from skerry.device.app import app, fleet_homes
from skerry.device.worker import process_worker
from skerry.runfolder import RunFolder
from skerry.security.privacy import GaussianEvent
from skerry.security.privacy.verification import read_ledger, verify_ledger
from skerry.server.account import Spending
from skerry.server.central import run_event
from skerry.server.cohort import draw_cohort
from skerry.server.discover import discover
from skerry.server.engines.flwr_adapter import task_identity
from skerry.server.engines.inprocess_grid import InProcessGrid
from skerry.server.federation import Federation
from skerry.server.prepare import prepare
from skerry.server.rounds import run_rounds
from skerry.server.spent import privacy
from tests._device_level import DEVICE, POISSON

TURNS = (*DEVICE, 'privacy.mechanism="matrix_factorization"', "privacy.min_separation=3", "privacy.denominator=4")


def federate(parent, *overrides):
    scenario = default_scenario(["rounds=4", *overrides])
    folder = RunFolder.create(parent, scenario, engine="inprocess")
    prepared = prepare(folder, system_clock, process_worker())
    with task_identity(1):
        grid = InProcessGrid(app, [{"skerry-home": str(home)} for home in fleet_homes(folder.path)])
        nodes = discover(folder, grid, prepared.task.devices(), system_clock, patience_s=180)
        federation = Federation.assemble(folder, prepared, grid, nodes, system_clock)
        with federation.ledger:
            records = run_rounds(federation).records
            said = privacy(federation)
    return federation, records, said


def ledgers(federation):
    root = federation.folder.path / "ledger" / "devices"
    return {path.stem: read_ledger(path) for path in sorted(root.glob("*.jsonl"))}


def test_a_run_with_drawn_cohorts_spends_what_was_planned_for_every_device(tmp_path):
    federation, records, said = federate(tmp_path, *POISSON, "privacy.clip_quantile=0.5")
    whole = run_event(federation.scenario, federation.plan.noise_multiplier)
    population = read_ledger(tmp_path / federation.folder.id / "ledger" / "population.jsonl")
    assert population.policy.unit == "device"
    assert population.spending.events() == [whole]
    assert population.debits == 4
    assert verify_ledger(tmp_path / federation.folder.id / "ledger" / "population.jsonl", pld=False).problems == ()
    assert 0.99 * 8 < records[-1].epsilon_max <= 8
    assert [r.epsilon_max for r in records] == sorted(r.epsilon_max for r in records)
    assert len({r.accepted for r in records}) > 1  # cohorts differ
    assert all(not r.extra["refusals"] for r in records)
    asked = {device for r in records for device in r.accepted}
    for device, account in ledgers(federation).items():
        assert account.spending.events() == ([whole] if device in asked else [])
        assert account.debits == sum(device in r.accepted for r in records)
    assert said["epsilon_rdp"] == records[-1].epsilon_max
    assert said["epsilon_pld"] < said["epsilon_rdp"]
    assert "Poisson: each device" in said["sampling"]
    assert any("coordinator is trusted" in sentence for sentence in said["assumptions"])
    clips = [r.extra["clip"] for r in records]
    assert clips[0] == 1.0
    assert len(set(clips)) == 4
    assert all(math.isfinite(r.extra["unclipped"]) for r in records)


def test_a_run_with_correlated_noise_is_paid_once_and_keeps_its_separation(tmp_path):
    federation, records, said = federate(tmp_path, *TURNS)
    whole = run_event(federation.scenario, federation.plan.noise_multiplier)
    assert whole == GaussianEvent(federation.plan.noise_multiplier)
    population = read_ledger(tmp_path / federation.folder.id / "ledger" / "population.jsonl")
    assert population.spending.events() == [whole]
    turns: dict[str, list[int]] = {}
    for record in records:
        for device in record.accepted:
            turns.setdefault(device, []).append(record.round)
    assert sorted(turns) == sorted(federation.nodes)
    assert all(b - a >= 3 for rounds in turns.values() for a, b in itertools.pairwise(rounds))
    for account in ledgers(federation).values():
        assert account.spending.events() == [whole]
        assert account.policy.min_separation == 3
    assert records[0].epsilon_max == records[-1].epsilon_max <= 8
    assert "its own ledger refuses more" in said["sampling"]


@pytest.mark.parametrize("kind", ["nan", "sign_flip"])
def test_hostile_updates_cost_their_devices_place_and_never_the_round(tmp_path, kind):
    changes = (f'attack.kind="{kind}"', "attack.devices=3", "attack.scale=1e30", "privacy.epsilon=50", "rounds=2")
    everybody = (*DEVICE, "privacy.denominator=11")
    federation, records, _ = federate(tmp_path, *everybody, *changes)
    for record in records:
        assert record.extra["skipped"] is None
        assert math.isfinite(record.loss)
        assert len(record.accepted) == (8 if kind == "nan" else 11)
    assert np.isfinite(records[-1].accuracy)
    assert federation.plan.unit == "device"


def test_each_device_is_drawn_by_itself_at_the_rate(tmp_path):
    federation, _, _ = federate(tmp_path, *POISSON, "rounds=1")
    drawn = [draw_cohort(federation, number, Spending(federation)) for number in range(2, 1202)]
    names = sorted(federation.nodes)
    for name in names:
        share = sum(name in cohort for cohort in drawn) / 1200
        assert abs(share - 0.5) < 5 * math.sqrt(0.25 / 1200)
    together = sum(names[0] in cohort and names[1] in cohort for cohort in drawn) / 1200
    assert abs(together - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 1200)
    sizes = {len(cohort) for cohort in drawn}
    assert len(sizes) > 5  # not a fixed number
