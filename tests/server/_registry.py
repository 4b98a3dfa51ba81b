"""Verdicts for the fleet's registry."""

import sqlite3

from skerry.records import Action, Reason, Score, Verdict
from skerry.server.registry import (
    DeviceKind,
    JudgedRound,
    Registry,
    Scope,
)

DAY = 86_400_000
NOW = 1_764_000_000_000
LAB = Scope(DeviceKind.SIMULATED, "digits/digits")
FIELD = Scope(DeviceKind.REAL, "harbour")


def accepted(number: int, *names: str) -> list[Verdict]:
    return [Verdict(number, name, Action.ACCEPT, (), (Score("norm", 1.0, 0.5, 2.0, "Usual."),)) for name in names]


def rejected(number: int, name: str, action: Action = Action.DROP, reason: Reason = Reason.NORM) -> Verdict:
    scores = (Score("norm", 9.0, 0.5, 2.0, "Nine times too long."), Score("cosine", 0.9, 0.1, None, "Points along."))
    last = (Score("strikes", 3.0, None, 3.0, "Dropped 3 times."),) if action is Action.QUARANTINE else ()
    return Verdict(number, name, action, (reason,), scores + last, propose_revocation=bool(last))


def silent(number: int, name: str, reason: Reason) -> Verdict:
    return Verdict(number, name, Action.DROP, (reason,))


def judged(number: int, *verdicts: Verdict, day: float = 0.0) -> JudgedRound:
    return JudgedRound(number, NOW + round(day * DAY), verdicts)


def standing(registry: Registry, name: str, *, day: float = 0.0, half_life: float = 30.0):
    return registry.standing(registry.find(name), NOW + round(day * DAY), half_life)


def rows(registry: Registry, table: str) -> int:
    with sqlite3.connect(registry.path) as base:
        return base.execute(f"select count(*) from {table}").fetchone()[0]
