"""Which claims can be audited, and with which canaries."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry.config.scenario import Scenario

__all__ = ["check_audit"]


def check_audit(scenario: "Scenario") -> None:
    """Raise a ValueError that says what to change."""
    audit, model, privacy = scenario.audit, scenario.model, scenario.privacy
    if not audit.canaries:
        return
    if privacy.unit != "example":
        raise ValueError('an audit needs a claim to test: set privacy.unit = "example", or audit.canaries = 0')
    if audit.kind == "crafted" and model.trainable != "head":
        raise ValueError(
            'crafted canaries are rows of a head\'s features: set audit.kind = "mislabelled" or "natural", '
            'or model.trainable = "head"'
        )
    if model.personal_head:
        raise ValueError("an audit knows no personal heads: set model.personal_head = false")
