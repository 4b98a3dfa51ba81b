"""What a scenario may ask of a fleet: nothing that only a simulation can do."""

from skerry.config import Scenario
from skerry.errors import ScenarioError

__all__ = ["check_for_fleet"]


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
