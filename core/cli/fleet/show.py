"""``skerry fleet show``: the evidence about one device."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from skerry.cli.console import AsJson, RunsDir, emit, facts, out, table
from skerry.cli.fleet.options import (
    HALF_LIFE_DAYS,
    DeviceName,
    HalfLife,
    ScopeOption,
    decision_json,
    enrolled_json,
    enrolment_of,
    honoured,
    standing_json,
)

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from skerry.records import Score
    from skerry.server.registry import Decision, Judgement, Reputation, Standing
    from skerry.server.registry.enrolled import Enrolled
    from skerry.server.service.inbox import LastCondition

__all__ = ["show"]

PLOT = 60  # characters


def show(
    device: DeviceName,
    *,
    last: Annotated[int, typer.Option(min=1, metavar="N", help="How many verdicts to print, the newest.")] = 5,
    scope: ScopeOption = None,
    half_life: HalfLife = HALF_LIFE_DAYS,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what is known of a device: standing over time, every verdict that was not plain acceptance, decisions.

    With --json all verdicts are told.
    """
    from rich.text import Text

    from skerry.clock import system_clock
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.registry import Registry, trace
    from skerry.wording import amount

    registry = Registry(runs_in(runs_dir), upgrade=False)
    found = registry.find(device, scope)
    standing = registry.standing(found, system_clock(), half_life)
    history = registry.history(found)
    entry = enrolment_of(registry.folder, found)
    past = list(trace(history.events, half_life))
    said, receipts = _handed_in(registry.folder, entry)
    if as_json:
        emit({
            "registry": registry.where,
            "half_life_days": half_life,
            **standing_json(standing),
            "enrolment": None if entry is None else enrolled_json(entry),
            "told": None if said is None else {"at": said.at, **_words(said)},
            "receipts": receipts,
            "verdicts": [_judgement_json(one) for one in history.judgements],
            "decisions": [decision_json(one) for one in history.decisions],
            "reputation": [_point_json(at, one) for at, one in past],
        })  # fmt: skip
        return
    console = out()
    console.print(Text.assemble((found.name, "bold"), (f"  {found.scope.kind.value} · {found.scope.name}", "dim")))
    console.print(facts([*_facts(standing, past, half_life), *_place(entry), *_said(said, receipts)]))
    console.print()
    if history.judgements:
        console.print(_evidence(history.judgements[: -last - 1 : -1]))
        left = len(history.judgements) - last
        if left > 0:
            told = f"and {amount(left, 'older verdict')}: --last {len(history.judgements)}, or --json"
            console.print(Text(told, style="dim"))
    else:
        console.print("no verdict but acceptance")
    if history.decisions:
        console.print()
        console.print(_decisions(history.decisions))


def _facts(
    standing: "Standing", past: "list[tuple[int, Reputation]]", half_life: float
) -> "list[tuple[str, str | Text]]":
    from skerry.wording import bar, moment, sparkline

    one, kept = standing.reputation, standing.quarantine
    weighed = (
        f"they count {one.accepted:.1f} for and {one.rejected:.1f} against, after appeals and with a half-life of "
        f"{half_life:g} days"
    )
    rows: list[tuple[str, str | Text]] = [
        ("standing", f"{one.score:.2f}  {bar(one.score)}  (0.50: nothing is known)"),
        ("evidence", f"{standing.judged} judged, {standing.rejected} rejected; {weighed}"),
        ("quarantine", "none" if kept is None else f"since {moment(kept.at)} by {_author(kept)}: {kept.why}"),
    ]
    if kept is not None:
        rows.append(("", honoured(standing.device)))
    rows.append(("first seen", moment(standing.device.first_seen)))
    rows.append(("last seen", moment(standing.last_seen)))
    if past:
        scores = _thinned([point.score for _, point in past])
        rows.append(("over time", f"{sparkline(scores, 0.0, 1.0)}  {moment(past[0][0])} to {moment(past[-1][0])}"))
    return rows


def _place(entry: "Enrolled | None") -> "list[tuple[str, str | Text]]":
    from skerry.wording import moment

    if entry is None:
        return []
    decision, certificate, kem = entry.admission, entry.certificate, entry.kem
    decided = "" if decision is None else f", by {decision.by}: {decision.why}"
    tags = [("tags", ", ".join(entry.tags))] if entry.tags else []
    return [
        ("enrolment", f"{entry.state.value} as {entry.role.value} of class {entry.device_class}{decided}"),
        *tags,
        ("key", f"P-256, fingerprint {entry.fingerprint}"),
        ("certificate", "none yet" if certificate is None else f"until {moment(certificate.expires)}"),
        ("sealing key", f"{kem.suite.value}, epoch {kem.epoch}, until {moment(kem.expires)}"),
    ]


def _handed_in(runs: "Path", entry: "Enrolled | None") -> "tuple[LastCondition | None, int]":
    """What an enrolled device has handed in at the devices' port: its last condition, and so many receipts."""
    from skerry.server.federation_home import FederationHome

    path = FederationHome(runs).inbox
    if entry is None or not path.exists():
        return None, 0
    from skerry.server.service.inbox import Inbox

    return Inbox(path, most=0).of(entry.device.name)


def _words(told: "LastCondition") -> dict[str, str]:
    from skerry.device.service import device_pb2 as pb

    levels = {name: pb.Level.Name(getattr(told, name)) for name in ("battery", "free_memory", "free_disk")}
    return {"activity": pb.Activity.Name(told.activity), **levels}


def _said(told: "LastCondition | None", receipts: int) -> "list[tuple[str, str | Text]]":
    from skerry.wording import amount, moment

    rows: list[tuple[str, str | Text]] = []
    if told is not None:
        plain = {name: step.partition("_")[2].replace("_", " ").lower() for name, step in _words(told).items()}
        steps = ", ".join(f"{name.replace('_', ' ')} {step}" for name, step in plain.items())
        rows.append(("it told", f"{steps}; {moment(told.at)}"))
    return [*rows, ("handed in", amount(receipts, "receipt"))] if receipts else rows


def _evidence(judgements: "tuple[Judgement, ...]") -> "RenderableType":
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    from skerry.wording import moment

    parts: list[RenderableType] = [Text("verdicts, newest first", "bold")]
    for one in judgements:
        verdict = one.verdict
        reasons = f": {', '.join(verdict.reasons)}" if verdict.reasons else ""
        place = (f"  {one.run}, round {verdict.round}, {moment(one.at)}", "dim")
        parts.append(Text.assemble((f"{verdict.action.value}{reasons}", "bold"), place))
        if verdict.scores:
            parts.append(Padding(_scores(verdict.scores), (0, 0, 0, 2)))
    return Group(*parts)


def _scores(scores: "tuple[Score, ...]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    from skerry.server.registry import beyond

    shown = Table.grid(padding=(0, 2))
    for justify in ("left", "right", "left"):
        shown.add_column(justify=justify, no_wrap=True)
    shown.add_column(overflow="fold")
    for score in scores:
        style = "red" if beyond(score) else ""
        row = (score.detector, f"{score.value:.4g}", _limits(score), score.sentence)
        shown.add_row(*(Text(cell, style) for cell in row))
    return shown


def _decisions(decisions: "tuple[Decision, ...]") -> "RenderableType":
    from rich.text import Text

    from skerry.wording import moment, percent

    shown = table("decisions", ["when", "what", "by", "why"])
    for one in decisions:
        restored = "" if one.restore is None else f", {percent(one.restore)} restored"
        shown.add_row(moment(one.at), f"{one.kind.value}{restored}", Text(_author(one)), Text(one.why))
    return shown


def _author(decision: "Decision") -> str:
    return decision.by if decision.run is None else f"the {decision.by} (run {decision.run}, round {decision.round})"


def _limits(score: "Score") -> str:
    if score.low is None and score.high is None:
        return ""
    low, high = ("" if limit is None else f"{limit:.4g}" for limit in (score.low, score.high))
    return f"{low} … {high}".strip()


def _thinned(values: list[float]) -> list[float]:
    """At most as many as there is room for, evenly taken, the last among them."""
    if len(values) <= PLOT:
        return values
    return [values[round(i * (len(values) - 1) / (PLOT - 1))] for i in range(PLOT)]


def _judgement_json(one: "Judgement") -> dict[str, Any]:
    return {"run": one.run, "at": one.at, **one.verdict.to_json()}


def _point_json(at: int, one: "Reputation") -> dict[str, Any]:
    return {"at": at, "score": one.score, "accepted_weight": one.accepted, "rejected_weight": one.rejected}
