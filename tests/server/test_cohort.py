"""Who is asked: by conditions on what a run knows of each device, and never by what is known of another."""

import math

import pytest

from skerry.clock import system_clock
from skerry.config import default_scenario
from skerry.device.app import app, fleet_homes
from skerry.device.worker import process_worker
from skerry.errors import ScenarioError
from skerry.runfolder import RunFolder
from skerry.security.privacy.accounting import GaussianEvent, compose, epsilon_from_rdp
from skerry.server.account import Spending
from skerry.server.cohort import choose, draw_cohort
from skerry.server.discover import discover
from skerry.server.engines.flwr_adapter import task_identity
from skerry.server.engines.inprocess_grid import InProcessGrid
from skerry.server.federation import Federation
from skerry.server.prepare import prepare
from skerry.server.remaining import Remaining
from tests._device_level import DEVICE, POISSON

PLAIN = ("attack.devices=0", "privacy.unit=none", "rounds=4")
DRAWN = (*POISSON, "rounds=4")


def assembled(parent, *overrides: str) -> Federation:
    """A federation of the shipped writers before its first round."""
    folder = RunFolder.create(parent, default_scenario(overrides), engine="inprocess")
    prepared = prepare(folder, system_clock, process_worker())
    with task_identity(1):
        grid = InProcessGrid(app, [{"skerry-home": str(home)} for home in fleet_homes(folder.path)])
        nodes = discover(folder, grid, prepared.task.devices(), system_clock, patience_s=10)
        federation = Federation.assemble(folder, prepared, grid, nodes, system_clock)
    federation.ledger.close()
    return federation


def rounds(federation: Federation, count: int) -> list[tuple[str, ...]]:
    """Who would be asked in each, when those before were asked."""
    spending, drawn = Spending(federation), []
    for number in range(1, count + 1):
        cohort = draw_cohort(federation, number, spending)
        spending.add(number, cohort)
        drawn.append(cohort)
    return drawn


def test_a_condition_on_names_and_on_what_was_asked_before(tmp_path) -> None:
    federation = assembled(
        tmp_path, *PLAIN, "cohort.where=not name == 'writer-01' and (rounds_since > 2 or name == 'writer-02')"
    )
    everybody = set(federation.nodes) - {"writer-01"}
    assert "writer-02" in everybody
    assert [set(cohort) for cohort in rounds(federation, 4)] == [everybody, {"writer-02"}, {"writer-02"}, everybody]


def test_who_is_kept_out_is_told_why(tmp_path) -> None:
    federation = assembled(tmp_path, *PLAIN, "cohort.where=rounds_asked < 1")
    spending = Spending(federation)
    spending.add(1, ["writer-01"])
    chosen, out = choose(federation, 2, ["writer-01", "writer-02"], spending)
    assert chosen == ("writer-02",)
    assert out == {"writer-01": ("rounds_asked < 1: rounds_asked is 1",)}


def test_what_is_left_of_a_budget_is_what_was_not_asked_for(tmp_path) -> None:
    once = "attack.devices=0", "rounds=4", "cohort.sampling=fixed", "cohort.size=5"
    federation = assembled(tmp_path, *once, "cohort.where=epsilon_left >= 0.01")
    spending, event = Spending(federation), federation.plan.event
    assert spending.left("writer-01") == 8.0
    spending.add(1, ["writer-01"])
    spending.add(2, ["writer-01"])
    spent = epsilon_from_rdp(compose([event, event]), 1e-5)[0]
    assert spending.left("writer-01") == pytest.approx(8.0 - spent)
    assert spending.left("writer-02") == 8.0
    for number in (3, 4):
        spending.add(number, ["writer-01"])
    assert choose(federation, 5, ["writer-01", "writer-02"], spending)[0] == ("writer-02",)


def test_a_budget_has_what_other_runs_spent_and_nothing_once_updates_left_without_noise() -> None:
    event = GaussianEvent(2.0)
    remaining = Remaining(8.0, 1e-5, {"a": compose([event] * 2), "b": compose([event]) + math.inf})
    both = epsilon_from_rdp(compose([event] * 3), 1e-5)[0]
    assert remaining.left("a", compose([event])) == pytest.approx(8.0 - both)
    assert remaining.left("b") == 0.0
    assert remaining.left("c") == 8.0
    assert remaining.left("c", compose([event] * 1000)) == 0.0


def test_under_poisson_the_coin_of_each_device_is_thrown_whether_it_may_take_part_or_not(tmp_path) -> None:
    free = assembled(tmp_path / "a", *DRAWN)
    bound = assembled(tmp_path / "b", *DRAWN, "cohort.where=rounds_since > 1 and not name == 'writer-01'")
    spending = Spending(bound)
    for number in range(1, 60):
        coins = draw_cohort(free, number, Spending(free))
        cohort = draw_cohort(bound, number, spending)
        rested = {name for name in coins if number - spending.last_asked.get(name, -9) > 1}
        assert set(cohort) == rested - {"writer-01"}  # nobody in another's place
        spending.add(number, cohort)


@pytest.mark.parametrize(
    "where", ["class == 'pi'", "tag('garden') or name == 'writer-01'", "trust > 0.5 or battery > 'half'"]
)
def test_a_simulation_does_not_pretend_to_know_what_only_real_devices_have(tmp_path, where: str) -> None:
    with pytest.raises(ScenarioError, match="simulated devices have no") as told:
        assembled(tmp_path, *PLAIN, f"cohort.where={where}")
    assert "epsilon_left" in told.value.mend


def test_what_is_left_of_ledgers_that_go_on_is_not_taken_for_what_this_run_leaves(tmp_path) -> None:
    kept = f"privacy.ledgers={tmp_path / 'kept'}"
    with pytest.raises(ScenarioError, match="of this run alone") as told:
        assembled(tmp_path, "attack.devices=0", kept, "cohort.where=epsilon_left >= 0.01")
    assert (told.value.where, "privacy.ledgers" in told.value.mend) == ("cohort.where", True)
    assembled(tmp_path, "attack.devices=0", kept, "cohort.where=rounds_asked < 3")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("cohort.where=clas == 'pi'",), "cohort.where: column 1: there is no fact 'clas': did you mean 'class'?"),
        (("cohort.over_select=1.3",), 'belongs to cohort.sampling = "fixed"'),
        ((*DRAWN, "cohort.over_select=1.3"), "must not depend on whose come first"),
        ((*DRAWN, "cohort.deadline_least_s=5"), "how long one device needs"),
        (("cohort.deadline_least_s=601",), "which a round never exceeds"),
        (("cohort.spread_s=600",), "no time"),
        (("cohort.spread_s=60", "cohort.deadline_least_s=5"), "one after another"),
        (
            (*DEVICE, "rounds=4", 'privacy.mechanism="matrix_factorization"', "cohort.where=rounds_asked < 3"),
            "settled before the run",
        ),
    ],
)
def test_what_would_break_a_guarantee_is_refused_with_a_way_out(overrides: tuple[str, ...], said: str) -> None:
    with pytest.raises(ScenarioError) as told:
        default_scenario(overrides)
    assert said in told.value.what
