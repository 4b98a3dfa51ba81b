"""A run in a few lines: what it reached, spent, defended and delivered, as far as it came."""

from rich.console import Group, RenderableType
from rich.text import Text

from skerry.cli.console import facts
from skerry.participation import participation, participation_words
from skerry.result import Defence, Privacy, Quality, Result
from skerry.runfolder import RunFolder
from skerry.wording import amount, delta, duration, epsilon, guarantee, listing, percent, points, size

__all__ = ["defence_words", "partial_summary", "privacy_words", "result_summary", "state_words"]

STYLES = {"complete": "green", "interrupted": "yellow", "failed": "red"}


def result_summary(result: Result, folder: RunFolder) -> RenderableType:
    """The closing table of a run."""
    run, quality, cost, delivery = result.run, result.quality, result.cost, result.delivery
    title = Text.assemble(
        (run.id, "bold"),
        "  ",
        (state_words(run.state, run.rounds_done, run.rounds), STYLES[run.state]),
        (f"  {run.engine} · seed {run.seed} · {duration(cost.wall_s)}", "dim"),
    )
    rows: list[tuple[str, str | Text]] = [("accuracy", _accuracy(quality))]
    references = quality.references
    if references.non_private is not None:
        rows.append(("without privacy", percent(references.non_private.accuracy)))
    if references.undefended is not None:
        rows.append(("without defence", percent(references.undefended.accuracy)))
    rows.append(("privacy", privacy_words(result.privacy)))
    rows.append(("defence", defence_words(result.defence)))
    if delivery is not None:
        what = f"{delivery.name} version {delivery.version}, {size(delivery.bytes)}"
        rows.append(("delivered", f"{what}, signed and encrypted for {amount(delivery.recipients, 'device')}"))
    rows.append(("traffic", f"up {size(cost.bytes_up)}, down {size(cost.bytes_down)}"))
    if result.participation is not None:
        rows.append(("took part", participation_words(result.participation)))
    report = folder.path / "report.html"
    rows.append(("report", str(report) if report.is_file() else "not written"))
    rows += [("notice", Text(notice, "yellow")) for notice in folder.notices]
    return Group(title, Text(""), facts(rows))


def partial_summary(folder: RunFolder) -> RenderableType:
    """What is kept of a run that has no result (yet)."""
    status, rounds = folder.status, folder.rounds()
    state = folder.state
    title = Text.assemble(
        (folder.id, "bold"),
        "  ",
        (state_words(state, len(rounds), status["rounds"]), STYLES.get(state, "cyan")),
        (f"  {status['engine']} · stage: {status['stage']}", "dim"),
    )
    rows: list[tuple[str, str | Text]] = []
    error = status.get("error")
    if error:
        rows.append(("why", str(error.get("what", error)) if isinstance(error, dict) else str(error)))
    if rounds:
        last, privacy = rounds[-1], folder.scenario.privacy
        rows.append(("accuracy", f"{percent(last.accuracy)} after round {last.round}"))
        rows.append(("privacy", guarantee(last.epsilon_max, privacy.delta, privacy.unit, "add/remove")))
        flagged = sorted({*last.flagged, *last.extra.get("quarantined", ())})
        rows.append(("flagged", listing(flagged) if flagged else "nobody"))
        rows.append(("took part", participation_words(participation(rounds, ()))))
        rows.append(("finished", amount(len(rounds), "round")))
    else:
        rows.append(("finished", "no round"))
    rows.append(("kept in", str(folder.path)))
    rows += [("notice", Text(notice, "yellow")) for notice in folder.notices]
    return Group(title, Text(""), facts(rows))


def state_words(state: str, done: int, rounds: int) -> str:
    """How far a run came, said plainly."""
    if state == "complete":
        return f"complete, {amount(done, 'round')}"
    return f"{state} after {done} of {amount(rounds, 'round')}"


def privacy_words(privacy: Privacy) -> str:
    """The largest ε any device spent, fully qualified; both accountants when both are known."""
    if privacy.unit == "none" or privacy.epsilon_rdp is None:
        return "no privacy guarantee"
    by_rdp = f"ε = {epsilon(privacy.epsilon_rdp)} by RDP"
    by_pld = "" if privacy.epsilon_pld is None else f", {epsilon(privacy.epsilon_pld)} by PLD"
    where = f"at δ = {delta(privacy.delta)}, {privacy.unit} level, {privacy.relation}"
    budget = "" if privacy.epsilon_budget is None else f"; budget {epsilon(privacy.epsilon_budget)}"
    return f"{by_rdp}{by_pld} {where}{budget}{'; simulated noise' if privacy.simulated else ''}"


def defence_words(defence: Defence) -> str:
    """Who was flagged, and how that compares with who attacked (known in simulation)."""
    out = f"; {listing(defence.excluded)} not asked, in quarantine from before" if defence.excluded else ""
    if not defence.attackers:
        flagged = f"{listing(defence.flagged)} flagged" if defence.flagged else "nobody flagged"
        return f"{flagged}{'' if defence.attack == 'unknown' else '; nobody attacked'}{out}"
    caught = set(defence.attackers) & set(defence.flagged)
    honest = [device for device in defence.flagged if device not in caught]
    words = f"{len(caught)} of {len(defence.attackers)} attackers flagged"
    if caught:
        words += f" ({listing(sorted(caught))})"
    return f"{words}; {listing(honest) if honest else 'no honest device'}{' too, honest' if honest else ''}{out}"


def _accuracy(quality: Quality) -> Text:
    base = quality.base.accuracy if quality.base else None
    final = quality.final.accuracy if quality.final else None
    gain = None if base is None or final is None else final - base
    held_out = amount(len(quality.held_out), "held-out device")
    kind = "int8" if quality.final and quality.final.int8 else "float"
    return Text.assemble(
        f"{percent(base)} → ", (percent(final), "bold green"), f"  {points(gain)} on {held_out}, {kind} model"
    )
