"""The view of ``skerry top``: one screen, tables that are changed in place, looked at again every so often."""

from collections.abc import Callable, Mapping, Sequence
from threading import Event
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import DataTable, Footer, Static, TabbedContent, TabPane

from skerry.wording import UNKNOWN, bar, delta, epsilon, moment, percent, sparkline

__all__ = ["TopView"]

Facts = Mapping[str, Mapping[str, Any]]

_STATES = ("revoked", "denied", "quarantined", "hot", "pending", "left", "training", "resting", "idle")
_STYLES = {"revoked": "red", "denied": "red", "quarantined": "red", "hot": "yellow", "pending": "yellow"}
_STYLES |= {"training": "green", "resting": "yellow", "alarm": "bold red", "warning": "yellow"}
_ALERTS = 5  # lines

_TABLES: Mapping[str, Sequence[str]] = {
    "devices": ("device", "state", "fleet", "ε of the budget", "standing", "judged", "rejected", "why"),
    "rounds": ("round", "accuracy", "ε", "used", "flagged", "not used", "seconds"),
    "verdicts": ("round", "device", "action", "reasons", "what it rests on"),
    "log": ("entry", "when, UTC", "kind", "what"),
}


class TopView(App[None]):
    """See the module.

    Args:
        look: reads the facts; called in a thread, never twice at once.
        every_s: seconds between two looks.
    """

    CSS = "#run { height: auto; padding: 0 1; } #alerts { height: auto; max-height: 6; padding: 0 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("r", "another_run", "Another run"),
        *(Binding(name[0] if name != "rounds" else "o", f"show('{name}')", name.capitalize()) for name in _TABLES),
    ]
    TITLE = "skerry top"

    def __init__(self, look: Callable[[], Facts], *, every_s: float) -> None:
        super().__init__()
        self._look = look
        self._every_s = every_s
        self._facts: Facts = {}
        self._chosen = 0
        self._over = Event()

    def compose(self) -> ComposeResult:
        """Alerts, the run, and a tab for each table."""
        with Vertical():
            yield Static(id="alerts")
            yield Static("reading …", id="run")
            with TabbedContent():
                for name in _TABLES:
                    with TabPane(name.capitalize(), id=name):
                        yield DataTable(id=f"table-{name}", cursor_type="row", zebra_stripes=True)
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        for name, columns in _TABLES.items():
            table = self.query_one(f"#table-{name}", DataTable)
            for column in columns:
                table.add_column(column, key=column)
        self.run_worker(self._keep_looking, thread=True)

    def action_show(self, name: str) -> None:
        """Go to a table."""
        self.query_one(TabbedContent).active = name
        self.query_one(f"#table-{name}", DataTable).focus()

    def action_another_run(self) -> None:
        """Show the run before, and after the oldest the newest."""
        self._chosen += 1
        self._show()

    def on_unmount(self) -> None:
        """Look no more."""
        self._over.set()

    def _keep_looking(self) -> None:
        while not self._over.is_set():
            facts = self._look()
            if not self._over.is_set():
                self.call_from_thread(self._take, facts)
            self._over.wait(self._every_s)

    def _take(self, facts: Facts) -> None:
        if facts != self._facts:
            self._facts = facts
            self._show()

    def _show(self) -> None:
        alerts = sorted(self._of("alert"), key=lambda one: ("alarm", "warning", "notice").index(one["level"]))
        lines = [Text.assemble((f"{one['level']:8}", _STYLES.get(one["level"], "")), one["what"]) for one in alerts]
        more = [Text(f"and {len(lines) - _ALERTS} more", "dim")] if len(lines) > _ALERTS else []
        self.query_one("#alerts", Static).update(Text("\n").join([*lines[:_ALERTS], *more]))
        runs = sorted(self._of("run"), key=lambda one: str(one["started"]), reverse=True)
        run = runs[self._chosen % len(runs)] if runs else None
        self.query_one("#run", Static).update(
            Text("there is no run in this folder yet") if run is None else _run(run, self._rounds(run))
        )
        self._fill("devices", self._devices(run))
        self._fill("log", {one["key"]: _entry(one) for one in sorted(self._of("log"), key=lambda one: -one["seq"])})
        if run is not None:
            self._fill("rounds", {one["key"]: _round(one) for one in reversed(self._rounds(run))})
            self._fill("verdicts", {one["key"]: _verdict(one) for one in reversed(self._of("verdict", run["id"]))})

    def _of(self, *kind: str) -> list[Mapping[str, Any]]:
        prefix = "/".join((*kind, ""))
        return [{"key": key, **fact} for key, fact in self._facts.items() if key.startswith(prefix)]

    def _rounds(self, run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return sorted(self._of("round", run["id"]), key=lambda one: int(one["round"]))

    def _devices(self, run: Mapping[str, Any] | None) -> dict[str, tuple[str, ...]]:
        budgets = self._of("budget", run["id"]) if run is not None else []
        spent = {(one["simulated"], one["scope"], one["device"]): one for one in budgets}
        scope = run["scope"] if run is not None and run["simulated"] else None
        some = [one for one in self._of("device") if not one["simulated"] or one["scope"] == scope]
        some.sort(key=lambda one: (_STATES.index(one["state"]), one["name"]))
        return {one["key"]: _device(one, spent.get((one["simulated"], one["scope"], one["name"]))) for one in some}

    def _fill(self, name: str, wanted: Mapping[str, tuple[str, ...]]) -> None:
        """Make a table's rows these, by the keys of their facts; the cursor stays where it is."""
        table = self.query_one(f"#table-{name}", DataTable)
        if list(wanted) != [str(key.value) for key in table.rows]:
            place = table.cursor_row
            table.clear()
            for key, row in wanted.items():
                table.add_row(*map(_styled, row), key=key)
            table.move_cursor(row=min(place, max(0, len(wanted) - 1)))
            return
        for key, row in wanted.items():
            for column, cell in zip(_TABLES[name], row, strict=True):
                table.update_cell(key, column, _styled(cell))


def _styled(cell: str) -> Text:
    return Text(cell, _STYLES.get(cell, ""))


def _run(run: Mapping[str, Any], rounds: Sequence[Mapping[str, Any]]) -> Text:
    state = run["state"] if run["paused"] is None else f"paused by {run['paused']['by']}: {run['paused']['why']}"
    promised = run["budget"] is not None
    spent = "no privacy guarantee"
    if promised:
        share = (run["epsilon"] or 0.0) / run["budget"]
        what = f"δ = {delta(run['delta'])}, {run['unit']} level, {run['relation']}"
        spent = f"ε {epsilon(run['epsilon'])} of {run['budget']:g} {bar(share)}  {what}"
    asked = f"{run['answered']} of {run['asked']} answered" if run["asked"] else "nobody is asked now"
    curve = sparkline([one["accuracy"] for one in rounds[-40:]], 0.0, 1.0) if rounds else ""
    return Text.assemble(
        (run["id"], "bold"), f"  {state} · {run['stage']}\n",
        f"round {run['done']} of {run['rounds']} {bar(run['done'] / run['rounds'])}  {asked}\n",
        f"accuracy {percent(run['accuracy'])} {curve}  ({percent(run['base_accuracy'])} before training)\n", spent,
    )  # fmt: skip


def _device(one: Mapping[str, Any], budget: Mapping[str, Any] | None) -> tuple[str, ...]:
    spent = UNKNOWN
    if budget is not None and budget["budget"]:
        spent = f"{bar(budget['epsilon'] / budget['budget'])} {epsilon(budget['epsilon'])} of {budget['budget']:g}"
    figures = (f"{one['standing']:.2f}", str(one["judged"]), str(one["rejected"]))
    fleet = f"{one['scope']} (simulated)" if one["simulated"] else one["scope"]
    return one["name"], one["state"], fleet, spent, *figures, one["why"] or ""


def _round(one: Mapping[str, Any]) -> tuple[str, ...]:
    counts = (str(one["accepted"]), str(len(one["flagged"])), str(len(one["dropped"])))
    return str(one["round"]), percent(one["accuracy"]), epsilon(one["epsilon_max"]), *counts, f"{one['seconds']:.1f}"


def _verdict(one: Mapping[str, Any]) -> tuple[str, ...]:
    why = " ".join(score["sentence"] for score in one["scores"])
    return str(one["round"]), one["device"], one["action"], ", ".join(one["reasons"]), why


def _entry(one: Mapping[str, Any]) -> tuple[str, ...]:
    body = one["body"]
    what = "(erased)" if body is None else ", ".join(f"{name} {str(value)[:32]}" for name, value in body.items())
    return str(one["seq"]), moment(one["at"]), one["kind"], what
