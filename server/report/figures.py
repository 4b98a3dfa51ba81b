"""Which figures a report shows, made from the facts; a figure without data is left out."""

import statistics
from dataclasses import dataclass

from skerry.result import CLAIMS, Claim, Defence, Metrics, Result
from skerry.server.report.facts import Facts
from skerry.server.report.plots import Line, Plot, column_plot, line_plot
from skerry.wording import UNKNOWN, amount, delta, duration, epsilon, listing, percent, points, size

__all__ = [
    "DeviceRow",
    "EvidenceRow",
    "Tile",
    "accuracy_plot",
    "bytes_plot",
    "device_rows",
    "epsilon_plot",
    "evidence_rows",
    "quality_rows",
    "stage_rows",
    "tiles",
]

BUNDLE = 40  # more lines than this are a smear: the largest and the median tell it


@dataclass(frozen=True)
class Tile:
    """A headline figure; ``meter`` is a share between 0 and 1, or None."""

    name: str
    value: str
    under: str
    meter: float | None = None


@dataclass(frozen=True)
class DeviceRow:
    """A device's accuracy before and after; ``left``, ``right`` are places in percent along the common scale."""

    device: str
    role: str
    tag: str
    before: str
    after: str
    change: str
    rose: bool
    start: float
    end: float
    note: str


@dataclass(frozen=True)
class EvidenceRow:
    """A claim, its figure, and where it can be checked."""

    words: str
    value: str
    leaf: str | None
    checkpoint: str | None
    file: str | None


def tiles(result: Result) -> list[Tile]:
    """The four figures that most readers came for."""
    quality, privacy, defence = result.quality, result.privacy, result.defence
    base = quality.base.accuracy if quality.base else None
    final = quality.final.accuracy if quality.final else None
    gain = "" if base is None or final is None else f"{points(final - base)} from {percent(base)}"
    found = [Tile("Accuracy on held-out devices", percent(final), gain)]
    if privacy.unit == "none" or privacy.epsilon_rdp is None:
        found.append(Tile("Privacy", "none", "no guarantee was asked for"))
    else:
        budget = privacy.epsilon_budget
        found.append(
            Tile(
                "Privacy spent, at most",
                f"ε {epsilon(privacy.epsilon_rdp)}",
                f"of {epsilon(budget)} at δ = {delta(privacy.delta)}, {privacy.unit} level, {privacy.relation}",
                min(1.0, privacy.epsilon_rdp / budget) if budget else None,
            )
        )
    caught = len(set(defence.attackers) & set(defence.flagged))
    wrong = defence.false_quarantines
    honest = "" if wrong is None else f"{amount(wrong, 'honest device')} in quarantine"
    if defence.attackers:
        found.append(Tile("Attackers flagged", f"{caught} of {len(defence.attackers)}", honest))
    else:
        found.append(Tile("Devices flagged", str(len(defence.flagged)), _whose(defence)))
    if result.delivery is not None:
        under = f"signed and encrypted for {amount(result.delivery.recipients, 'device')}"
        found.append(Tile("Model delivered", size(result.delivery.bytes), under))
    return found


def _whose(defence: Defence) -> str:
    return "hostile ones are not known" if defence.attack == "unknown" else "nobody attacked"


def accuracy_plot(facts: Facts) -> Plot | None:
    """Accuracy by round against the base, the run without privacy, and the run without defence."""
    if not facts.rounds:
        return None
    base = facts.base_accuracy
    start: tuple[float | None, ...] = () if base is None else (base,)
    xs = [*([0] if base is not None else []), *(record.round for record in facts.rounds)]
    own = (*start, *(record.accuracy for record in facts.rounds))
    lines = [Line("This run", "final", own, percent(own[-1]))]
    if base is not None:
        lines.append(Line("Base, public data only", "base", (base,) * len(xs), percent(base)))
    if facts.result is not None:
        references = facts.result.quality.references
        for name, kind, reference in (
            ("Without privacy", "open", references.non_private),
            ("Without defence", "bare", references.undefended),
        ):
            if reference is not None:
                curve = (*start, *reference.by_round) if reference.by_round else (reference.accuracy,) * len(xs)
                values = tuple(curve[i] if i < len(curve) else None for i in range(len(xs)))
                lines.append(Line(name, kind, values, percent(reference.accuracy)))
    title = "Accuracy on held-out devices by round"
    return line_plot("accuracy-plot", title, xs, lines, percent, tick=lambda share: f"{100 * share:g} %")


def epsilon_plot(facts: Facts) -> Plot | None:
    """ε of each device by round, as the devices' own ledgers tell it, with the budget."""
    privacy = facts.scenario.privacy
    if privacy.unit == "none" or not facts.rounds:
        return None
    xs = [0, *(record.round for record in facts.rounds)]
    curves = facts.epsilon
    if curves:
        largest = [max(curve[x - 1] for curve in curves.values()) for x in xs[1:]]
        middle = [statistics.median(curve[x - 1] for curve in curves.values()) for x in xs[1:]]
    else:
        largest = [record.epsilon_max or 0.0 for record in facts.rounds]
        middle = [record.epsilon_median or 0.0 for record in facts.rounds]
    bundle = [Line(device, "device", (0.0, *(curve[x - 1] for x in xs[1:]))) for device, curve in curves.items()]
    told = [
        Line("Largest", "final", (0.0, *largest), epsilon(largest[-1])),
        Line("Median", "open", (0.0, *middle), epsilon(middle[-1])),
        Line("Budget", "budget", (privacy.epsilon,) * len(xs), epsilon(privacy.epsilon)),
    ]
    drawn = [*(bundle if len(bundle) <= BUNDLE else []), *reversed(told)]
    title = f"ε of each device by round (RDP, δ = {delta(privacy.delta)}, {privacy.unit} level, add/remove)"
    return line_plot(
        "epsilon-plot", title, xs, drawn, epsilon, tick=lambda value: f"{value:g}", from_zero=True, told=told
    )


def bytes_plot(facts: Facts) -> Plot | None:
    """Bytes by round, to the devices and from them."""
    if not facts.rounds:
        return None
    down = [float(record.bytes_down) for record in facts.rounds]
    up = [float(record.bytes_up) for record in facts.rounds]
    stacks = [
        ("final", "Up, from devices", up, size(int(sum(up)))),
        ("open", "Down, to devices", down, size(int(sum(down)))),
    ]
    xs = [record.round for record in facts.rounds]
    return column_plot(
        "bytes-plot",
        "Bytes by round, all devices together",
        xs,
        stacks,
        lambda count: size(round(count)),
        tick=lambda count: size(round(count)).replace(".0 ", " "),
    )


def quality_rows(result: Result) -> list[tuple[str, ...]]:
    """Base and final model, measured three ways: name, accuracy, loss, calibration error."""
    rows: list[tuple[str, ...]] = []
    for name, model in (("Before", result.quality.base), ("After", result.quality.final)):
        if model is None:
            continue
        kinds: list[tuple[str, Metrics | None]] = [("float", model.floating), ("int8", model.int8)]
        if model.int8 is None:
            kinds = [("deployed", model)]
        rows += [(f"{name}, {kind}", *_metrics(m)) for kind, m in kinds if m is not None]
    return rows


def _metrics(model: Metrics) -> tuple[str, str, str]:
    loss = UNKNOWN if model.loss is None else f"{model.loss:.3f}"
    return percent(model.accuracy), loss, percent(model.ece)


def device_rows(result: Result) -> tuple[list[DeviceRow], float]:
    """Each device's accuracy before and after, held-out devices first; and where the common scale starts."""
    known = {d: q for d, q in result.quality.devices.items() if q.before is not None and q.after is not None}
    values = [v for q in known.values() for v in (q.before, q.after) if v is not None]
    low = min(0.9, int(min(values, default=0.0) * 10) / 10)
    attackers = set(result.defence.attackers)
    rows = []
    for device, q in sorted(known.items(), key=lambda item: (item[1].role != "held_out", item[0])):
        before, after = q.before or 0.0, q.after or 0.0
        rows.append(
            DeviceRow(
                device=device,
                role=q.role,
                tag="held out" if q.role == "held_out" else "attacker" if device in attackers else "",
                before=percent(before),
                after=percent(after),
                change=f"{100 * (after - before):+.1f}",
                rose=after >= before,
                start=round(100 * (before - low) / (1 - low), 2),
                end=round(100 * (after - low) / (1 - low), 2),
                note=q.note or "",
            )
        )
    return rows, low


def stage_rows(facts: Facts) -> list[tuple[str, str, str, float]]:
    """Stages with their seconds over all rounds, their share of it in words, and their bar's length in percent."""
    stages: dict[str, float] = {}
    for record in facts.rounds:
        for stage, seconds in record.seconds.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    total, longest = sum(stages.values()) or 1.0, max(stages.values(), default=0.0) or 1.0
    return [(s, duration(v), percent(v / total), round(100 * v / longest, 1)) for s, v in stages.items()]


def evidence_rows(result: Result) -> list[EvidenceRow]:
    """For each figure that the report states, where it can be checked."""
    rows = []
    for claim in CLAIMS:
        value = result.figure(claim.figure)
        if value is None:
            continue
        evidence = result.evidence.get(claim.evidence)
        rows.append(
            EvidenceRow(
                claim.words,
                _stated(claim, value),
                evidence.leaf if evidence else None,
                evidence.checkpoint if evidence else None,
                evidence.file if evidence else None,
            )
        )
    return rows


def _stated(claim: Claim, value: object) -> str:
    if isinstance(value, tuple):
        return listing(value) if value else "nobody"
    if isinstance(value, str):
        return f"{value[:16]}…"
    assert isinstance(value, int | float)
    if claim.figure.startswith("privacy."):
        return f"ε {epsilon(value)}"
    if claim.figure.startswith("cost.bytes"):
        return size(int(value))
    return duration(value) if claim.figure == "cost.wall_s" else percent(value)
