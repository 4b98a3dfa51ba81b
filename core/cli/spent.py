"""``skerry privacy show``: what was spent of each budget, what is left, and when it will be used up."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skerry.cli.console import AsJson, RunName, RunsDir, emit, out, table

if TYPE_CHECKING:
    from skerry.runfolder import RunFolder
    from skerry.security.privacy.chain import Entry
    from skerry.security.privacy.forecast import Forecast
    from skerry.security.privacy.verification import LedgerReport
    from skerry.server.ledgers import Ledgers

__all__ = ["show"]

BAR = 12  # characters
DAY = 24 * 3600.0


@dataclass(frozen=True)
class _Spent:
    name: str
    report: "LedgerReport"
    ahead: "Forecast | None"

    @property
    def epsilon(self) -> float | None:
        """Infinite where something left without noise; None where the ledger does not hold or promises nothing."""
        policy = self.report.policy
        if policy is None or policy.unit == "none" or self.ahead is None:
            return None
        return self.ahead.curve[-1] if self.ahead.curve else 0.0

    @property
    def budget(self) -> float | None:
        policy = self.report.policy
        return None if policy is None or policy.unit == "none" else policy.epsilon

    def to_json(self) -> dict[str, Any]:
        policy, ahead, budget = self.report.policy, self.ahead, self.budget
        finite = self.epsilon is not None and math.isfinite(self.epsilon)
        return {
            "subject": self.name,
            "rounds": self.report.debits,
            "epsilon_rdp": self.epsilon if finite else None,
            "epsilon_budget": budget,
            "epsilon_left": max(0.0, budget - self.epsilon) if finite and budget and self.epsilon is not None else None,
            "rounds_left": ahead.left if ahead else None,
            "seconds_per_round": ahead.pace_ms / 1000 if ahead and ahead.pace_ms is not None else None,
            "runs_out": _when(ahead.out_ms) if ahead and ahead.out_ms is not None else None,
            "delta": policy.delta if policy and budget else None,
            "unit": policy.unit if policy else None,
            "relation": policy.relation if policy and budget else None,
            "simulated": policy.simulated if policy else None,
            "min_separation": policy.min_separation if policy else None,
            "max_participations": policy.max_participations if policy else None,
            "data": policy.data if policy else None,
            "problems": list(self.report.problems),
        }


def show(
    run: RunName,
    *,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw ε by round into an SVG file.")] = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what each device spent, what is left, and when that runs out at the present rate, as its own ledger tells.

    The ledgers of a fleet lie on its devices: of them it shows what they were asked to spend in this run, at most.

    Rounds left are rounds like the last one, by the composition that the ledger refuses by. At the level of examples
    the population spends what the device spends that has spent most; at that of devices it has a budget of its own.
    """
    from rich.text import Text

    from skerry.fsio import write_atomic
    from skerry.runfolder import RunFolder
    from skerry.runfolder import runs_dir as runs_in
    from skerry.security.privacy.verification import verify_ledger
    from skerry.server.ledgers import POPULATION, Ledgers
    from skerry.wording import UNKNOWN, epsilon

    folder = RunFolder.open(run, runs_in(runs_dir))
    ledgers = Ledgers.of(folder)
    devices: list[_Spent] = []
    for name, path in ledgers.paths.items():
        report = verify_ledger(path, pld=False)
        if name != POPULATION:
            devices.append(_Spent(name, report, _ahead(report, ledgers.entries[name])))
    counts = {kind: sum(1 for _ in ledgers.of_kind(kind)) for kind in ("round_open", "release")}
    whole = _own(ledgers) if POPULATION in ledgers.paths else None
    population = _population(devices, whole, counts)
    if plot is not None:
        from skerry.cli.spent_plot import Curve, draw

        curves = [Curve(one.name, one.ahead.curve, one.budget) for one in devices if one.ahead and one.budget]
        write_atomic(plot, draw(folder.id, curves, _qualified(devices)).encode(), durable=False)
    asked = _asked(ledgers, folder.scenario.privacy.delta) if ledgers.elsewhere else None
    if as_json:
        rows = [one.to_json() for one in devices]
        document = {"run": folder.id, "population": population, "devices": rows, "plot": str(plot) if plot else None}
        emit(document if asked is None else {**document, "asked": asked})
        return
    if asked is not None:
        _show_asked(folder, asked)
        return
    figures = ["rounds", "ε spent", "budget", "left", "rounds left"]
    columns = ["device", *figures[:3], "", *figures[3:], "used up", ""]
    shown = table(f"privacy spent in {folder.id}", columns, right=figures)
    for one in devices:
        row = one.to_json()
        shown.add_row(
            Text(one.name),
            str(one.report.debits),
            UNKNOWN if one.epsilon is None else "∞" if math.isinf(one.epsilon) else epsilon(one.epsilon),
            UNKNOWN if one.budget is None else f"{one.budget:g}",
            _bar(one.epsilon, one.budget),
            UNKNOWN if row["epsilon_left"] is None else f"{row['epsilon_left']:.2f}",
            UNKNOWN if row["rounds_left"] is None else str(row["rounds_left"]),
            _used_up(row),
            Text("; ".join(row["problems"])),
        )
    most, budget = population["epsilon_rdp_most"], population["epsilon_budget"]
    shown.add_row(
        Text("population", "bold"),
        str(population["rounds_released"]),
        UNKNOWN if most is None else epsilon(most),
        "" if budget is None else f"{budget:g}",
        _bar(most, budget),
        UNKNOWN if population["epsilon_left_least"] is None else f"{population['epsilon_left_least']:.2f}",
        UNKNOWN if population["rounds_left_least"] is None else str(population["rounds_left_least"]),
        "",
        Text(f"{population['devices_used_up']} of {len(devices)} devices used up", style="dim"),
    )
    console = out()
    console.print(shown)
    console.print(Text(_qualified(devices), style="dim"))
    if plot is not None:
        console.print(Text(f"plot    {plot}"))


def _asked(ledgers: "Ledgers", delta: float) -> dict[str, dict[str, Any]]:
    """Of each device of a fleet: rounds in which it was asked, rounds whose debit it signed for, ε at most by RDP."""
    from skerry.server.asked import asked_of
    from skerry.server.ledgers import POPULATION

    return {
        device: {
            "rounds": one.rounds,
            "receipts": one.receipts,
            "epsilon_rdp_at_most": one.epsilon(delta) if one.prices else None,
            "head": one.head,
        }
        for device, one in sorted(asked_of(ledgers.entries.get(POPULATION, [])).items())
    }


def _show_asked(folder: "RunFolder", asked: dict[str, dict[str, Any]]) -> None:
    from rich.text import Text

    from skerry.wording import UNKNOWN, delta, epsilon

    figures = ["asked", "receipts", "ε, at most"]
    shown = table(f"privacy asked for in {folder.id}", ["device", *figures, "ledger's head"], right=figures)
    for device, one in asked.items():
        most = one["epsilon_rdp_at_most"]
        spent = UNKNOWN if most is None else epsilon(most)
        head = one["head"][:12] if one["head"] else UNKNOWN
        shown.add_row(Text(device), str(one["rounds"]), str(one["receipts"]), spent, head)
    privacy, console = folder.scenario.privacy, out()
    console.print(shown)
    if privacy.unit != "none":
        what = f"ε by RDP at δ = {delta(privacy.delta)}, {privacy.unit} level, add/remove, of this run alone"
        console.print(Text(what, style="dim"))
    console.print(Text("each device's own ledger lies on the device, and knows of other runs too", style="dim"))


def _own(ledgers: "Ledgers") -> _Spent | None:
    """The population's own spending: it debits where the unit is a device."""
    from skerry.security.privacy.verification import verify_ledger
    from skerry.server.ledgers import POPULATION

    report = verify_ledger(ledgers.paths[POPULATION], pld=False)
    if not report.debits:
        return None
    return _Spent(POPULATION, report, _ahead(report, ledgers.entries[POPULATION]))


def _ahead(report: "LedgerReport", entries: "list[Entry]") -> "Forecast | None":
    from skerry.security.privacy.forecast import forecast

    if report.policy is None:
        return None
    return forecast(report.policy, entries)


def _population(devices: list[_Spent], whole: _Spent | None, counts: dict[str, int]) -> dict[str, Any]:
    rows = [one.to_json() for one in devices]
    least = [whole.to_json()] if whole else rows

    def those(key: str, of: list[dict[str, Any]]) -> list[Any]:
        return [row[key] for row in of if row[key] is not None]

    return {
        "rounds_opened": counts["round_open"],
        "rounds_released": counts["release"],
        "epsilon_rdp_most": max(those("epsilon_rdp", least), default=None),
        "epsilon_budget": whole.budget if whole else None,
        "epsilon_left_least": min(those("epsilon_left", least), default=None),
        "rounds_left_least": min(those("rounds_left", least), default=None),
        "devices_used_up": sum(left == 0 for left in those("rounds_left", rows)),
    }


def _qualified(devices: list[_Spent]) -> str:
    """What every figure means."""
    from skerry.wording import delta

    said: dict[str, None] = {}
    for one in devices:
        policy = one.report.policy
        if policy is not None and policy.unit != "none":
            simulated = "; simulated noise" if policy.simulated else ""
            said[f"ε by RDP at δ = {delta(policy.delta)}, {policy.unit} level, {policy.relation}{simulated}"] = None
    return " · ".join(said) or "no privacy was promised"


def _bar(spent: float | None, budget: float | None) -> str:
    if spent is None or not budget:
        return ""
    full = BAR if math.isinf(spent) else min(BAR, math.ceil(BAR * spent / budget - 1e-9))
    return "█" * full + "░" * (BAR - full)


def _used_up(row: dict[str, Any]) -> str:
    from skerry.wording import UNKNOWN, duration

    if row["rounds_left"] == 0:
        return "yes"
    if row["runs_out"] is None:
        return UNKNOWN
    ahead = row["rounds_left"] * row["seconds_per_round"]
    return f"in {duration(ahead)} at this pace" if ahead < DAY else f"at this pace on {row['runs_out'][:10]}"


def _when(ms: int) -> str | None:
    from datetime import UTC, datetime

    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return None
