"""Rows of the registry, in and out: each function is part of somebody's transaction."""

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, insert, select

from skerry.records import Action, Reason, Verdict
from skerry.server.registry.fading import faded
from skerry.server.registry.records import (
    SCREEN,
    Decision,
    DecisionKind,
    Device,
    DeviceKind,
    JudgedRound,
    Judgement,
    Scope,
    beyond,
)
from skerry.server.registry.reputation import Appeal, Observation
from skerry.server.registry.tables import decisions, devices, insert_new, outcomes, runs

__all__ = [
    "acceptances",
    "add_decision",
    "add_round",
    "decisions_about",
    "devices_in",
    "events_of",
    "judgements_of",
    "last_seen",
    "quarantines",
]

_UNHEARD = frozenset(
    {
        Reason.NOT_AUTHENTIC,
        Reason.NOT_FOR_US,
        Reason.STALE,
        Reason.REPLAYED,
        Reason.NO_REPLY,
        Reason.LATE,
        Reason.NOT_AWAITED,
        Reason.ERROR,
    }
)
"""Reasons that somebody else may have caused: the device itself was not heard."""
_NEUTRAL = _UNHEARD | {Reason.REFUSED, Reason.QUARANTINED, Reason.NOT_ENROLLED}
"""Reasons that are not held against a device: it may refuse, and what led to a quarantine was counted before."""

Event = Observation | Appeal


def add_round(base: Connection, scope: Scope, run: str, judged: JudgedRound) -> None:
    """Take in the verdicts of a round; those that are known already stay as they are."""
    if not judged.verdicts:
        return
    base.execute(insert_new(base, runs), {"name": run, "at": judged.at})
    number = base.execute(select(runs.c.id).where(runs.c.name == run)).scalar_one()
    base.execute(
        insert_new(base, devices),
        [
            {"kind": scope.kind.value, "scope": scope.name, "name": verdict.device, "first_seen": judged.at}
            for verdict in judged.verdicts
        ],
    )
    ids = {one.name: one.id for one in devices_in(base, scope)}
    rows = [_outcome(ids[verdict.device], number, judged.at, verdict) for verdict in judged.verdicts]
    new = set(base.scalars(insert_new(base, outcomes).returning(outcomes.c.device), rows))
    for verdict in judged.verdicts:
        imposes = verdict.action is Action.QUARANTINE and Reason.QUARANTINED not in verdict.reasons
        if imposes and ids[verdict.device] in new:
            decision = Decision(
                judged.at, DecisionKind.QUARANTINE, SCREEN, _cause(verdict), run=run, round=judged.number
            )
            add_decision(base, ids[verdict.device], decision, number)


def add_decision(base: Connection, device: int, decision: Decision, run: int | None = None) -> None:
    """Add a decision; ``run`` is the number of the run whose verdict imposed it."""
    row = {
        "device": device,
        "at": decision.at,
        "kind": decision.kind.value,
        "by": decision.by,
        "why": decision.why,
        "restore": decision.restore,
        "run": run,
        "round": decision.round,
    }
    base.execute(insert(decisions), row)


def devices_in(base: Connection, scope: Scope | None = None) -> list[Device]:
    """The devices of a scope, or all, in the order of scopes and names."""
    query = select(devices).order_by(devices.c.kind, devices.c.scope, devices.c.name)
    if scope is not None:
        query = query.where(devices.c.kind == scope.kind.value, devices.c.scope == scope.name)
    return [
        Device(row.id, Scope(DeviceKind(row.kind), row.scope), row.name, row.first_seen) for row in base.execute(query)
    ]


def decisions_about(base: Connection, device: int | None = None) -> Iterator[tuple[int, Decision]]:
    """Each decision with its device's number, in the order in which they were made."""
    query = select(decisions, runs.c.name.label("run_name")).join(runs, isouter=True).order_by(decisions.c.id)
    for row in base.execute(_of(query, decisions.c.device, device)):
        kind = DecisionKind(row.kind)
        yield row.device, Decision(row.at, kind, row.by, row.why, row.restore, row.run_name, row.round)


def quarantines(base: Connection, device: int | None = None) -> dict[int, Decision]:
    """By number of the device, the decision that keeps it in quarantine: the first one since its last appeal."""
    kept: dict[int, Decision] = {}
    for number, decision in decisions_about(base, device):
        if decision.kind is DecisionKind.APPEAL:
            kept.pop(number, None)
        else:
            kept.setdefault(number, decision)
    return kept


def acceptances(
    base: Connection, now: int, half_life_days: float, device: int | None = None
) -> dict[int, tuple[int, float]]:
    """By number of the device, how many of its updates were plainly accepted, and what they count for now.

    These are nearly all rows there are, so the database adds them up.
    """
    weight = func.sum(faded(now - outcomes.c.at, half_life_days)).label("weight")
    query = select(outcomes.c.device, func.count().label("updates"), weight).where(outcomes.c.reasons.is_(None))
    found = base.execute(_of(query, outcomes.c.device, device).group_by(outcomes.c.device))
    return {row.device: (row.updates, row.weight) for row in found}


def events_of(base: Connection, device: int | None = None, *, plain: bool = True) -> dict[int, list[Event]]:
    """What reputation counts, by number of the device; without ``plain``, all but plain acceptance."""
    query = select(outcomes.c.device, outcomes.c.at, outcomes.c.action, outcomes.c.reasons).order_by(outcomes.c.device)
    if not plain:
        query = query.where(outcomes.c.reasons.is_not(None))
    found: dict[int, list[Event]] = {}
    for number, rows in groupby(base.execute(_of(query, outcomes.c.device, device)), key=lambda row: row.device):
        counted = ((row.at, _counts(row.action, row.reasons)) for row in rows)
        found[number] = [Observation(at, accepted) for at, accepted in counted if accepted is not None]
    for number, decision in decisions_about(base, device):
        if decision.restore is not None:
            found.setdefault(number, []).append(Appeal(decision.at, decision.restore))
    return found


def last_seen(base: Connection, device: int | None = None) -> dict[int, int]:
    """When each device last answered for itself, by its number."""
    query = select(outcomes.c.device, outcomes.c.reasons, func.max(outcomes.c.at).label("at")).group_by(
        outcomes.c.device, outcomes.c.reasons
    )
    found: dict[int, int] = {}
    for row in base.execute(_of(query, outcomes.c.device, device)):
        if not _UNHEARD & _reasons(row.reasons):
            found[row.device] = max(row.at, found.get(row.device, row.at))
    return found


def judgements_of(base: Connection, device: Device) -> Iterator[Judgement]:
    """The verdicts on a device that were not plain acceptance, oldest first."""
    query = (
        select(outcomes, runs.c.name.label("run_name"))
        .join(runs)
        .where(outcomes.c.device == device.id, outcomes.c.scores.is_not(None))
        .order_by(outcomes.c.at, outcomes.c.run, outcomes.c.round)
    )
    for row in base.execute(query):
        told = {"round": row.round, "device": device.name, "action": row.action, "scale": row.scale}
        told |= {"reasons": json.loads(row.reasons), "scores": json.loads(row.scores)}
        told |= {"propose_revocation": row.propose_revocation}
        yield Judgement(row.run_name, row.at, Verdict.from_json(told))


def _outcome(device: int, run: int, at: int, verdict: Verdict) -> dict[str, Any]:
    plain = verdict.action is Action.ACCEPT and not any(map(beyond, verdict.scores))
    told = verdict.to_json()
    return {
        "device": device,
        "run": run,
        "round": verdict.round,
        "at": at,
        "action": verdict.action.value,
        "reasons": None if plain else json.dumps(told["reasons"]),
        "scores": None if plain else json.dumps(told["scores"], allow_nan=False),
        "scale": None if plain else verdict.scale,
        "propose_revocation": None if plain else verdict.propose_revocation,
    }


def _cause(verdict: Verdict) -> str:
    """What was beyond its limits, and what the screen made of it: its last word."""
    told = [score.sentence for score in verdict.scores[:-1] if beyond(score)]
    return " ".join(told + [score.sentence for score in verdict.scores[-1:]]) or ", ".join(verdict.reasons)


def _counts(action: str, reasons: str | None) -> bool | None:
    """Whether a verdict speaks for its device; None where it says nothing.

    An update that a score spoke against and that was used all the same says nothing.
    """
    if reasons is None:
        return True
    spoken = action in {Action.DROP, Action.QUARANTINE} and not _NEUTRAL & _reasons(reasons)
    return False if spoken else None


def _reasons(text: str | None) -> set[str]:
    return set() if text is None else set(json.loads(text))


def _of(query: Select[Any], column: ColumnElement[int], device: int | None) -> Select[Any]:
    return query if device is None else query.where(column == device)
