"""Scenarios: their schema, and how they are read and written."""

from skerry.config.loading import default_scenario, load_scenario, parse_scenario, shipped_scenarios, to_toml
from skerry.config.scenario import (
    OVER_INT8,
    AttackConfig,
    AuditConfig,
    CohortConfig,
    DefenceConfig,
    DeliveryConfig,
    ModelConfig,
    PrivacyConfig,
    ReportConfig,
    Scenario,
    TaskConfig,
    TrainingConfig,
)

__all__ = [
    "OVER_INT8",
    "AttackConfig",
    "AuditConfig",
    "CohortConfig",
    "DefenceConfig",
    "DeliveryConfig",
    "ModelConfig",
    "PrivacyConfig",
    "ReportConfig",
    "Scenario",
    "TaskConfig",
    "TrainingConfig",
    "default_scenario",
    "load_scenario",
    "parse_scenario",
    "shipped_scenarios",
    "to_toml",
]
