"""What a device does under a device-level plan: the run is paid once, and separation is kept."""

import dataclasses

import pytest

from skerry.security.envelope import Kind
from skerry.security.privacy import GaussianEvent
from skerry.security.privacy.ledger import Ledger

from ._participation import Bench


def promised(bench: Bench, min_separation: int = 1, **changes) -> dict:
    """What makes of the bench's plan one of device-level privacy, for a device that promises nothing less."""
    home = bench.resident.home
    policy = dataclasses.replace(home.policy, unit="device", min_separation=min_separation)
    home.ledger.unlink()
    Ledger.create(home.ledger, scope="device", subject=home.device, policy=policy, now=0).close()
    object.__setattr__(home, "policy", policy)
    return {"unit": "device", "noise_multiplier": 2.0, "rounds": 9, "cohort_rate": 0.1, "clip": 1.0, **changes}


def test_the_first_participation_pays_for_the_whole_run_of_a_device_level_plan(bench: Bench):
    plan = promised(bench)
    for number in (2, 5, 9):
        assert bench.ask(bench.instruct(number, **plan)).header.kind is Kind.UPDATE
    with bench.ledger() as ledger:
        events = [entry.body["event"]["steps"] for entry in ledger.entries() if entry.kind == "debit"]
        assert events == [9, 0, 0]
        assert ledger.events() == [GaussianEvent(2.0, 0.1, 9)]
    assert bench.refusal(bench.instruct(10, **plan)) == "beyond_plan"
    assert bench.refusal(bench.instruct(5, **plan)) == "replayed"
    assert bench.debits() == 3


def test_what_one_run_paid_is_paid_again_by_the_next(bench: Bench):
    plan = promised(bench)
    bench.ask(bench.instruct(1, run="first", **plan))
    cheap = plan | {"noise_multiplier": 1e3}
    bench.ask(bench.instruct(1, run="second", **cheap))
    bench.ask(bench.instruct(2, run="second", **plan))
    with bench.ledger() as ledger:
        assert [entry.body["event"]["steps"] for entry in ledger.entries() if entry.kind == "debit"] == [9, 9, 9]


@pytest.mark.parametrize("change", [{"noise_multiplier": 1.9}, {"cohort_rate": 0.2}, {"rounds": 30}])
def test_a_device_level_plan_that_changes_its_price_is_paid_anew(bench: Bench, change):
    plan = promised(bench)
    bench.ask(bench.instruct(1, **plan))
    bench.ask(bench.instruct(2, **(plan | change)))
    with bench.ledger() as ledger:
        debits = [entry.body["event"] for entry in ledger.entries() if entry.kind == "debit"]
    assert [event["steps"] for event in debits] == [9, change.get("rounds", 9)]


def test_correlated_noise_is_paid_once_and_its_separation_kept(bench: Bench):
    plan = promised(bench, min_separation=3, separation=3, cohort_rate=1.0)
    for number in (1, 4):
        assert bench.ask(bench.instruct(number, **plan)).header.kind is Kind.UPDATE
    assert bench.refusal(bench.instruct(6, **plan)) == "too_soon"
    with bench.ledger() as ledger:
        assert ledger.events() == [GaussianEvent(2.0, 1.0, 1)]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"separation": 0, "rounds": 1}, {"separation": 3, "rounds": 1000}),
        ({"separation": 3, "rounds": 20}, {"separation": 3, "rounds": 1000}),
        ({"separation": 3, "rounds": 20}, {"separation": 2, "rounds": 20}),
    ],
)
def test_one_price_never_pays_for_two_promises(bench: Bench, first, then):
    plan = promised(bench, min_separation=3, cohort_rate=1.0)
    for number, change in ((1, first), (4, then), (7, then)):
        assert bench.ask(bench.instruct(number, **(plan | change))).header.kind is Kind.UPDATE
    with bench.ledger() as ledger:
        assert [entry.body["event"]["steps"] for entry in ledger.entries() if entry.kind == "debit"] == [1, 1, 0]


def test_noise_that_counts_on_more_separation_than_the_device_keeps_is_refused(bench: Bench):
    plan = promised(bench, min_separation=3, separation=4, cohort_rate=1.0)
    assert bench.refusal(bench.instruct(1, **plan)) == "separation_refused"
    assert bench.debits() == 0


def test_a_device_that_hides_its_examples_does_not_send_them_in_the_open_under_another_unit(bench: Bench):
    assert bench.refusal(bench.instruct(1, unit="device", rounds=3)) == "unit_refused"
    assert bench.debits() == 0
