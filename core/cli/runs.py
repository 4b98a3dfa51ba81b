"""``skerry runs``: list, show, open and compare what was run."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skerry.cli.console import AsJson, RunName, RunsDir, emit, note, out, table
from skerry.cli.runs_pause import pause, resume
from skerry.cli.tracking import log_mlflow

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from skerry.runfolder import RunFolder

__all__ = ["app", "open_report"]

app = typer.Typer(no_args_is_help=True, help="List, show, open, compare, pause and resume runs.")
app.command()(pause)
app.command()(resume)
app.command()(log_mlflow)

COMPARED = (
    ("quality.base.accuracy", "accuracy before"),
    ("quality.final.accuracy", "accuracy after"),
    ("quality.final.loss", "loss after"),
    ("quality.agreement", "float and int8 agree"),
    ("quality.references.non_private.accuracy", "accuracy without privacy"),
    ("quality.references.undefended.accuracy", "accuracy without defence"),
    ("privacy.epsilon_rdp", "ε by RDP"),
    ("privacy.epsilon_pld", "ε by PLD"),
    ("privacy.delta", "δ"),
    ("defence.precision", "precision of flags"),
    ("defence.recall", "recall of flags"),
    ("defence.backdoor_success", "trigger works"),
    ("cost.wall_s", "wall-clock seconds"),
    ("cost.bytes_up", "bytes up"),
    ("cost.bytes_down", "bytes down"),
    ("cost.peak_rss_mb", "peak memory, MiB"),
    ("delivery.bytes", "release bytes"),
)


def _open(name: str, parent: Path | None) -> "RunFolder":
    from skerry.runfolder import RunFolder, runs_dir

    return RunFolder.open(name, runs_dir(parent))


@app.command("list")
def list_(*, runs_dir: RunsDir = None, as_json: AsJson = False) -> None:
    """List the runs, oldest first."""
    from rich.text import Text

    from skerry.runfolder import list_runs
    from skerry.runfolder import runs_dir as runs_in

    parent = runs_in(runs_dir)
    rows = [_listed(folder) for folder in list_runs(parent)]
    if as_json:
        emit({"runs_dir": str(parent), "runs": rows})
        return
    if not rows:
        note().print(f"there are no runs in {parent}; start one with `skerry demo`", soft_wrap=True)
        return
    console = out()
    shown = _runs_table(rows)
    if console.measure(shown, options=console.options.update(max_width=1000)).maximum > console.width:
        shown = _runs_table(rows, without=("engine", "seed", "started"))  # a run's name says when, `show` the others
        shown.padding = (0, 1, 0, 0)
    console.print(Text(f"runs in {parent}", style="bold"), soft_wrap=True)  # a table cuts a title that is wider than it
    console.print(shown)
    console.print(Text("ε by RDP under add/remove", style="dim"))


@app.command()
def show(run: RunName, *, runs_dir: RunsDir = None, as_json: AsJson = False) -> None:
    """Show what a run reached, also one that is running, interrupted or failed."""
    from skerry.cli.summary import partial_summary, result_summary
    from skerry.result import load_result

    folder = _open(run, runs_dir)
    result = load_result(folder.path) if folder.result is not None else None
    if as_json:
        emit(
            {
                **_row(folder),
                "path": str(folder.path),
                "notices": list(folder.notices),
                "status": folder.status,
                "result": result.to_json() if result else None,
            }
        )
        return
    out().print(result_summary(result, folder) if result else partial_summary(folder))


@app.command("open")
def open_(run: RunName, *, runs_dir: RunsDir = None) -> None:
    """Open a run's report in a browser, or print its path where there is none."""
    open_report(_open(run, runs_dir))


@app.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="RUN", help="The first run.")],
    b: Annotated[str, typer.Argument(metavar="RUN", help="The second run.")],
    *,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Show where two runs differ: in their scenarios and in what they reached."""
    from skerry.result import load_result

    folders = [_open(a, runs_dir), _open(b, runs_dir)]
    results = [load_result(folder.path) for folder in folders]
    figures = [_figure(path, words, *(result.figure(path) for result in results)) for path, words in COMPARED]
    scenarios = [dict(_flat(folder.scenario.model_dump(mode="json"))) for folder in folders]
    settings = [
        {"key": key, "a": scenarios[0].get(key), "b": scenarios[1].get(key)}
        for key in scenarios[0] | scenarios[1]
        if scenarios[0].get(key) != scenarios[1].get(key)
    ]
    if as_json:
        emit({"a": folders[0].id, "b": folders[1].id, "settings": settings, "figures": figures})
        return
    columns = ["", folders[0].id, folders[1].id]
    console = out()
    settings_table = table("settings that differ", columns)
    for setting in settings:
        settings_table.add_row(setting["key"], _value(setting["a"]), _value(setting["b"]))
    console.print(settings_table if settings else "the two scenarios are the same")
    console.print()
    shown = table("what was reached", [*columns, "difference"], right=[*columns[1:], "difference"])
    for figure in figures:
        if figure["a"] is not None or figure["b"] is not None:
            change = figure["difference"]
            shown.add_row(
                figure["words"], _value(figure["a"]), _value(figure["b"]), "" if change is None else f"{change:+.4g}"
            )
    console.print(shown)


def open_report(folder: "RunFolder", console: "Console | None" = None) -> None:
    """Show the report in a browser; without one, print where it lies (to ``console``, else to standard output)."""
    import webbrowser

    from skerry.server.report import write_report

    path = folder.path / "report.html"
    if not path.is_file():
        path = write_report(folder)
    screen = sys.platform != "linux" or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    if not (screen and webbrowser.open(path.as_uri())):
        (console or out()).print(str(path), soft_wrap=True)


def _runs_table(rows: Sequence[Mapping[str, Any]], without: Sequence[str] = ()) -> "Table":
    from skerry.wording import delta, epsilon, percent

    cells: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "run": lambda row: row["id"],
        "state": lambda row: row["state"],
        "engine": lambda row: row["engine"],
        "seed": lambda row: str(row["seed"]),
        "rounds": lambda row: f"{row['rounds_done']}/{row['rounds']}",
        "accuracy": lambda row: percent(row["accuracy"]),
        "ε": lambda row: epsilon(row["epsilon_rdp"]),
        "δ": lambda row: delta(row["delta"]),
        "unit": lambda row: row["unit"],
        "started": lambda row: row["started"][:16].replace("T", " "),
    }
    columns = [name for name in cells if name not in without]
    shown = table("", columns, right=["seed", "rounds", "accuracy", "ε", "δ"])
    shown.title = None
    shown.columns[0].no_wrap = True
    for row in rows:
        shown.add_row(*(cells[name](row) for name in (columns[:2] if "problem" in row else columns)))
    return shown


def _listed(folder: "RunFolder") -> dict[str, Any]:
    """The row of one run; a run of another version, or a damaged one, must not hide the others."""
    from skerry.errors import SkerryError

    try:
        return _row(folder)
    except (SkerryError, ValueError, KeyError, TypeError) as error:
        return {"id": folder.id, "state": "unreadable", "problem": str(error)}


def _row(folder: "RunFolder") -> dict[str, Any]:
    scenario, status, rounds = folder.scenario, folder.status, folder.rounds()
    private = scenario.privacy.unit != "none"
    last = rounds[-1] if rounds else None
    return {
        "id": folder.id,
        "state": folder.state,
        "engine": status["engine"],
        "seed": scenario.seed,
        "rounds_done": len(rounds),
        "rounds": scenario.rounds,
        "accuracy": last.accuracy if last else None,
        "unit": scenario.privacy.unit,
        "relation": "add/remove" if private else None,
        "delta": scenario.privacy.delta if private else None,
        "epsilon_rdp": last.epsilon_max if last and private else None,
        "started": status["started"],
    }


def _figure(path: str, words: str, a: object, b: object) -> dict[str, Any]:
    difference = b - a if isinstance(a, int | float) and isinstance(b, int | float) else None
    return {"figure": path, "words": words, "a": a, "b": b, "difference": difference}


def _flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield prefix + key, inner


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)
