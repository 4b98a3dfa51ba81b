"""``skerry security``: attack the defences before somebody else does, look at what came of training; keys."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skerry.cli import security_keys, security_log
from skerry.cli.console import AsJson, emit, note, out, table
from skerry.cli.scan import scan

if TYPE_CHECKING:
    from skerry.server.lab import Cell, Grid

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Published attacks on the defences; backdoors; keys.")

app.add_typer(security_keys.app, name="keys")
app.add_typer(security_log.app, name="log")


@app.callback()
def security() -> None:
    """Try the defences against published attacks; look for backdoors; see to keys."""


app.command()(scan)


@app.command()
def attack(
    grid: Annotated[Path, typer.Argument(metavar="GRID.toml", help="Which rules, attacks and settings; see the docs.")],
    *,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the heatmaps as a page.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train small federations under every rule and attack of a grid; worst case first.

    The task is MNIST-1D, made by code: nothing is downloaded, and a training takes seconds.
    """
    from skerry.fsio import write_atomic
    from skerry.server.lab import heatmap, load_grid, run_grid

    wanted = load_grid(grid)
    with note().status("attack lab") as status:
        cells = run_grid(wanted, lambda done, of: status.update(f"attack lab: {done} of {of} trainings"))
    if html is not None:
        write_atomic(html, heatmap(wanted, cells).encode(), durable=False)
    document = _document(wanted, cells, html)
    if as_json:
        emit(document)
        return
    _tell(wanted, cells, html)


def _document(grid: "Grid", cells: "list[Cell]", html: Path | None) -> dict[str, Any]:
    ordered = sorted(cells, key=lambda cell: cell.accuracy)
    return {
        "grid": grid.model_dump(mode="json"),
        "cells": [cell.to_json() for cell in ordered],
        "html": None if html is None else str(html),
    }


def _tell(grid: "Grid", cells: "list[Cell]", html: Path | None) -> None:
    from rich.text import Text

    from skerry.server.lab import worst_first

    def told(cell: "Cell") -> str:
        works = "" if cell.success is None else f" ({100 * cell.success:.0f})"
        return f"{100 * cell.accuracy:.1f}{works}"

    for alpha in grid.alphas:
        some = [cell for cell in cells if cell.alpha == alpha]
        rules, attacks = worst_first(some)
        at = {(cell.aggregator, cell.attack): cell for cell in some}
        shown = table(f"accuracy in %, Dirichlet α = {alpha:g}, worst attack first", ["attack", *rules], right=rules)
        for name in attacks:
            shown.add_row(Text(name), *(told(at[rule, name]) for rule in rules))
        out().print(shown)
    if any(cell.success is not None for cell in cells):
        out().print(Text("in brackets: on how many examples in a hundred the trigger of a backdoor works"))
    if html is not None:
        note().print(Text(f"heatmaps in {html}"), soft_wrap=True)
