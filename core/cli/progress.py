"""Live progress: a display that renews itself on a terminal, one line a round elsewhere."""

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from skerry.cli.follow import Snapshot, View
from skerry.records import RoundRecord
from skerry.wording import delta, duration, epsilon, listing, percent, points, size, sparkline

__all__ = ["LiveView", "NoticesView", "PlainView", "view_for"]

SPARK_ROUNDS = 32


def view_for(console: Console, *, as_json: bool) -> View:
    """The display that suits where it is shown; whoever runs a program that reads JSON is told notices only."""
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveView(console)
    return NoticesView(console) if as_json else PlainView(console)


class NoticesView:
    """What whoever watches the run should be told, each sentence once; nothing else."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = 0

    def show(self, snapshot: Snapshot) -> None:
        """Print the notices that are new."""
        for notice in snapshot.notices[self._told :]:
            self._console.print(Text(notice, style="yellow"), soft_wrap=True)
        self._told = len(snapshot.notices)

    def close(self) -> None:
        """Nothing is left open."""


class PlainView:
    """Notices, and one line for each stage of preparation and for each round."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._notices = NoticesView(console)
        self._stage = ""
        self._shown = 0

    def show(self, snapshot: Snapshot) -> None:
        """Print what is new."""
        if not self._stage:
            self._line(f"{snapshot.run} ({snapshot.engine})")
        self._notices.show(snapshot)
        for record in snapshot.rounds[self._shown :]:
            self._line(_round_line(record, snapshot))
        self._shown = len(snapshot.rounds)
        if snapshot.stage != self._stage and snapshot.state in {"preparing", "finishing"}:
            self._line(snapshot.stage)
        self._stage = snapshot.stage

    def close(self) -> None:
        """Nothing is left open."""

    def _line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)


class LiveView:
    """Notices, stage, rounds, accuracy against the base, ε against the budget, flagged devices, bytes, time left."""

    def __init__(self, console: Console) -> None:
        self._notices = NoticesView(console)
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()

    def show(self, snapshot: Snapshot) -> None:
        """Draw the display anew; notices stay above it."""
        self._notices.show(snapshot)
        self._live.update(dashboard(snapshot), refresh=True)

    def close(self) -> None:
        """Take the display away."""
        self._live.stop()


def dashboard(snapshot: Snapshot) -> RenderableType:
    """The live display of one moment."""
    scenario, last = snapshot.scenario, snapshot.last
    head = Text.assemble(
        (scenario.name, "bold"), f"  {snapshot.engine} · seed {scenario.seed} · {snapshot.run}", style="dim"
    )
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(width=32, no_wrap=True)
    rows.add_column(no_wrap=True, overflow="ellipsis")
    done = len(snapshot.rounds)
    left = "" if snapshot.left_s is None else f" · about {_clock(snapshot.left_s)} left"
    rows.add_row(
        "round",
        _bar(done, scenario.rounds, "cyan"),
        Text(f"{done} of {scenario.rounds} · {_clock(snapshot.elapsed_s)}{left}"),
    )
    rows.add_row("stage", Text("training" if snapshot.state == "running" else snapshot.stage, style="italic"), "")
    if last is not None:
        base = snapshot.base_accuracy
        against = "" if base is None else f"base {percent(base)}, {points(last.accuracy - base)}"
        rows.add_row(
            "accuracy", _sparkline(snapshot), Text.assemble((percent(last.accuracy), "bold green"), f"  {against}")
        )
        rows.add_row("privacy", *_privacy(snapshot, last))
        flagged = snapshot.flagged
        rows.add_row(
            "flagged",
            Text(listing(flagged, 2) if flagged else "nobody", style="yellow" if flagged else ""),
            Text(f"{len(last.accepted)} updates accepted"),
        )
        up, down = sum(r.bytes_up for r in snapshot.rounds), sum(r.bytes_down for r in snapshot.rounds)
        rows.add_row("traffic", Text(f"up {size(up)} · down {size(down)}"), "")
    return Padding(Group(head, Text(""), rows), (1, 2))


def _privacy(snapshot: Snapshot, last: RoundRecord) -> tuple[RenderableType, Text]:
    privacy = snapshot.scenario.privacy
    if privacy.unit == "none" or last.epsilon_max is None:
        return Text("no guarantee asked for"), Text("")
    share = last.epsilon_max / privacy.epsilon
    return (
        _bar(last.epsilon_max, privacy.epsilon, "green" if share < 0.8 else "yellow"),
        Text(
            f"ε {epsilon(last.epsilon_max)} of {privacy.epsilon:g} at δ = {delta(privacy.delta)}, "
            f"{privacy.unit} level, add/remove"
        ),
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _bar(done: float, total: float, colour: str) -> ProgressBar:
    return ProgressBar(total=total, completed=min(done, total), width=32, complete_style=colour, finished_style=colour)


def _sparkline(snapshot: Snapshot) -> Text:
    values = [record.accuracy for record in snapshot.rounds[-SPARK_ROUNDS:]]
    return Text(sparkline(values), style="green")


def _round_line(record: RoundRecord, snapshot: Snapshot) -> str:
    scenario = snapshot.scenario
    base = "" if snapshot.base_accuracy is None else f" (base {percent(snapshot.base_accuracy)})"
    privacy = f"ε {epsilon(record.epsilon_max)}/{scenario.privacy.epsilon:g}"
    flagged = sorted({*record.flagged, *record.extra.get("quarantined", ())})
    width = len(str(scenario.rounds))
    return "  ".join(
        [
            f"round {record.round:>{width}}/{scenario.rounds}",
            f"accuracy {percent(record.accuracy)}{base}",
            "no privacy" if scenario.privacy.unit == "none" else privacy,
            f"accepted {len(record.accepted)}",
            f"flagged {listing(flagged, 3) if flagged else 'nobody'}",
            f"up {size(record.bytes_up)}",
            duration(sum(record.seconds.values())),
        ]
    )
