"""``skerry model compress``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skerry.cli.console import AsJson, emit, facts, fail, note, out, table

if TYPE_CHECKING:
    from skerry.config.recipe import Recipe
    from skerry.device.compression.figures import Figures
    from skerry.device.compression.kept import Stage
    from skerry.device.compression.pipeline import Compressed
    from skerry.errors import SkerryError

__all__ = ["compress"]


def compress(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="[RECIPE]", help="A recipe (TOML), or a shipped one by name; none: list those."),
    ] = None,
    *,
    folder: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Where files go \\[default: compressed/NAME].")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override a key, such as steps.1.keep_macs=0.4. May be repeated."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a network smaller, step by step: prune, distil, round, quantize; each step is measured on held-out examples.

    Whatever was stopped goes on where it was when the same recipe is given again; a step whose recipe has changed, and
    those behind it, are taken anew.
    """
    from skerry.config.recipe import load_recipe, shipped_recipes

    if recipe is None:
        if as_json:
            emit({"recipes": list(shipped_recipes())})
        else:
            _list()
        return
    chosen = load_recipe(recipe, overrides or ())
    made = _follow(chosen, folder or Path("compressed") / chosen.name, as_json=as_json)
    _draw(made)
    document = made.to_json() | {"folder": str(made.out)}
    if not as_json:
        _tell(made)
    if made.broken:
        fail(_over_budget(made), document, as_json=as_json)
    if as_json:
        emit(document)


def _list() -> None:
    from skerry.config.recipe import load_recipe, shipped_recipes

    shown = table("shipped recipes", ["name", "task", "network", "steps"])
    for name in shipped_recipes():
        recipe = load_recipe(name)
        network = f"{recipe.model.architecture} ×{recipe.model.width:g}, {recipe.model.input_size} px"
        shown.add_row(name, recipe.task.name, network, ", ".join(step.kind for step in recipe.steps))
    out().print(shown)


def _follow(chosen: "Recipe", folder: Path, *, as_json: bool) -> "Compressed":
    from skerry.cli.model.compress_progress import watching
    from skerry.errors import InterruptedRunError, MissingDependencyError

    try:
        from skerry.device.compression.pipeline import compress as follow
    except ImportError as error:
        raise MissingDependencyError(
            f"compressing needs {error.name}", where="model compress", mend="pip install 'skerry[train]'"
        ) from error
    try:
        with watching(note(), quiet=as_json) as watcher:
            return follow(chosen, folder, watcher)
    except KeyboardInterrupt as error:
        raise InterruptedRunError(
            "stopped by Ctrl-C; the steps that were finished are kept",
            where=str(folder),
            mend="give the same command again to go on",
        ) from error


def _tell(made: "Compressed") -> None:
    from rich.text import Text

    from skerry.device.compression.kept import PACKED
    from skerry.wording import percent, size

    figures = ["accuracy", "agreement", "stored", "MACs", "parameters", "latency", "took"]
    shown = table(f"{made.recipe.name}: after each step", ["step", *figures], right=figures)
    for stage in made.rows:
        shown.add_row(*_row(stage))
    console = out()
    console.print(shown)
    console.print()
    first, last = made.uncompressed, made.stages[-1].figures
    rows: list[tuple[str, str | Text]] = []
    if first is not None:
        before = first.figures
        rows.append(("against uncompressed", _against(last, before)))
        rows.append(("accuracy", f"{percent(before.accuracy)} → {percent(last.accuracy)}"))
    rows.append(("stored", f"{size(last.bytes)} in {made.out / 'model'}"))
    if (made.out / "model" / PACKED).is_file():
        rows.append(("bits", _bits(made.out / "model" / PACKED)))
    rows.append(("plot", str(made.out / "tradeoff.svg")))
    console.print(facts(rows))


def _row(stage: "Stage") -> list[str]:
    from skerry.wording import duration, percent, size

    f = stage.figures
    return [
        stage.kind,
        percent(f.accuracy),
        percent(f.agreement),
        size(f.bytes),
        f"{f.macs / 1e6:.2f} M",
        f"{f.parameters / 1e3:,.0f} k",
        f"{f.latency_ms:.2f} ms",
        "found" if stage.reused else duration(stage.seconds),
    ]


def _against(last: "Figures", before: "Figures") -> str:
    ratios = {name: getattr(last, name) / getattr(before, name) for name in ("bytes", "macs", "latency_ms")}
    return f"{ratios['bytes']:.2f}× bytes, {ratios['macs']:.2f}× MACs, {ratios['latency_ms']:.2f}× latency"


def _bits(file: Path) -> str:
    """How many layers and weights have how many bits."""
    from skerry.device.compression.packing import BITS, load_packed
    from skerry.wording import percent

    layers = load_packed(file).layers.values()
    weights = sum(layer.values.size for layer in layers)
    said = []
    for bits in BITS:
        sizes = [layer.values.size for layer in layers if layer.bits == bits]
        if sizes:
            said.append(f"{bits} in {len(sizes)} layers ({percent(sum(sizes) / weights)} of the weights)")
    return ", ".join(said)


def _draw(made: "Compressed") -> None:
    from skerry.cli.model.tradeoff_plot import Point, draw_tradeoff
    from skerry.fsio import write_atomic
    from skerry.wording import percent, size

    points = [
        Point(
            stage.figures.bytes,
            stage.figures.accuracy,
            f"{stage.number or ''} {stage.kind}, {percent(stage.figures.accuracy)}".strip(),
            f"{stage.kind}: {percent(stage.figures.accuracy)}, {size(stage.figures.bytes)}, "
            f"{stage.figures.latency_ms:.2f} ms",
            "chosen" if stage is made.stages[-1] else "front",
        )
        for stage in made.rows
    ]
    budget = made.recipe.budget.size_kb
    drawn = draw_tradeoff(
        f"{made.recipe.name}: accuracy against bytes",
        f"{made.recipe.task.name}, held-out examples; one dot for each step",
        points,
        x_name="bytes that a device stores",
        tick=lambda count: size(round(count)).replace(".0 ", " "),
        way=range(len(points)),
        limit=None if budget is None else 1000 * budget,
        legend={"chosen": "the result"},
    )
    write_atomic(made.out / "tradeoff.svg", drawn.encode(), durable=False)


def _over_budget(made: "Compressed") -> "SkerryError":
    from skerry.errors import RunFailedError
    from skerry.wording import percent, size

    closest = made.closest
    f = closest.figures
    nearest = f"{percent(f.accuracy)}, {size(f.bytes)}, {f.latency_ms:.2f} ms after {closest.kind!r}"
    return RunFailedError(
        f"the budget is not kept: {'; '.join(made.broken)}",
        where=str(made.out),
        mend=f"the closest is {nearest}; allow more, or change a step",
    )
