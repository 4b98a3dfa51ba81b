"""The fleet's registry: what outlives a run."""

from skerry.server.registry.records import (
    SCREEN,
    Decision,
    DecisionKind,
    Device,
    DeviceKind,
    History,
    JudgedRound,
    Judgement,
    Scope,
    Standing,
    beyond,
    run_scope,
    scope_of,
)
from skerry.server.registry.reputation import Appeal, Observation, Reputation, reputation, trace
from skerry.server.registry.store import Registry

__all__ = [
    "SCREEN",
    "Appeal",
    "Decision",
    "DecisionKind",
    "Device",
    "DeviceKind",
    "History",
    "JudgedRound",
    "Judgement",
    "Observation",
    "Registry",
    "Reputation",
    "Scope",
    "Standing",
    "beyond",
    "reputation",
    "run_scope",
    "scope_of",
    "trace",
]
