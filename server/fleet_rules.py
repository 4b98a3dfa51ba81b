"""What a scenario may ask of a fleet: nothing that only a simulation can do, and no more devices than are enrolled."""

from pathlib import Path

from skerry.config import Scenario
from skerry.errors import RefusedError, ScenarioError
from skerry.strategies.rule import parse_rule
from skerry.where import FACTS, parse_where

__all__ = ["check_enrolled", "check_for_fleet", "check_for_simulation", "devices_needed"]


def check_for_fleet(scenario: Scenario) -> None:
    """Return when a scenario can be run over enrolled devices.

    Raises:
        ScenarioError: it asks for what only a simulation has; names the key.
    """
    only_simulated = (
        (scenario.attack.kind != "none" and scenario.attack.devices > 0, "attack.kind", "none", "hostile devices"),
        (scenario.audit.canaries > 0, "audit.canaries", "0", "canaries planted among devices' examples"),
        (scenario.privacy.ledgers is not None, "privacy.ledgers", "none", "devices' ledgers on this machine"),
    )
    for asked, key, harmless, what in only_simulated:
        if asked:
            raise ScenarioError(
                f"a run over a fleet has no {what}: only a simulation does",
                where=key,
                mend=f"leave {key} at {harmless}",
            )
    if scenario.privacy.mechanism == "matrix_factorization":
        raise ScenarioError(
            "correlated noise needs the same devices in every round, which a fleet does not promise",
            where="privacy.mechanism",
            mend='use privacy.mechanism = "discrete_gaussian"',
        )


def check_for_simulation(scenario: Scenario) -> None:
    """Return when a scenario can be run over simulated devices.

    Raises:
        ScenarioError: its condition looks at what only enrolled devices have, or at what other runs have left of
            ledgers that go on.
    """
    if scenario.cohort.where is None:
        return
    names = parse_where(scenario.cohort.where).names
    if lacking := sorted(name for name in names if name == "tag" or FACTS[name].fleet):
        known = ", ".join(name for name, fact in FACTS.items() if not fact.fleet)
        raise ScenarioError(
            f"simulated devices have no {', '.join(lacking)}: only enrolled ones do",
            where="cohort.where",
            mend=f"choose by {known}, or leave cohort.where out of a simulation",
        )
    if "epsilon_left" in names and scenario.privacy.ledgers is not None:
        raise ScenarioError(
            "in a simulation epsilon_left is of this run alone, and these ledgers hold other runs too",
            where="cohort.where",
            mend="leave epsilon_left out (each ledger refuses what is too much), or privacy.ledgers",
        )


def devices_needed(scenario: Scenario) -> int:
    """How many devices the scenario wants, its rule needs and its buffer holds; with fewer a run does not begin."""
    cohort, defence = scenario.cohort, scenario.defence
    minimum = parse_rule(defence.aggregator, tolerate=defence.tolerate).minimum()
    return max(cohort.at_least, cohort.buffer or 0, minimum)


def check_enrolled(scenario: Scenario, devices: int, *, where: Path) -> None:
    """Return when enough devices are enrolled.

    Args:
        scenario: says how many are needed.
        devices: how many are enrolled, in good standing, chosen by ``cohort.tags``, and may be asked.
        where: the run or its folder of runs, for the message.

    Raises:
        RefusedError: they are too few (``too_few_enrolled``).
    """
    needed = devices_needed(scenario)
    if devices < needed:
        called = f" and called {' or '.join(scenario.cohort.tags)}" if scenario.cohort.tags else ""
        raise RefusedError(
            "too_few_enrolled",
            f"{devices} devices are enrolled, in good standing{called}; {scenario.defence.aggregator} that tolerates "
            f"{scenario.defence.tolerate}, and cohort.at_least = {scenario.cohort.at_least}, need {needed}",
            where=str(where),
            mend="invite more (`skerry fleet invite`), tag more (`skerry fleet tag`), see `skerry fleet list`, "
            "or ask for less",
        )
