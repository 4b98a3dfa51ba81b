"""``skerry model fit``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skerry.cli.console import AsJson, emit, facts, note, out, table

if TYPE_CHECKING:
    from skerry.cli.model.tradeoff_plot import Kind, Point
    from skerry.config.fit import FitConfig
    from skerry.device.compression.figures import Figures
    from skerry.device.compression.fit import Fitted, Tried

__all__ = ["fit"]


def fit(
    *,
    latency_ms: Annotated[
        float | None,
        typer.Option("--latency-ms", min=0.0, help="Median of one call, one thread, onnxruntime, on this machine."),
    ] = None,
    size_mb: Annotated[float | None, typer.Option("--size-mb", min=0.0, help="Of the file that devices store.")] = None,
    task: Annotated[str, typer.Option(help="Whose public data train, and whose held-out examples measure.")] = "digits",
    architecture: Annotated[str, typer.Option(help="A declared architecture.")] = "mobilenet_v2",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the public data in the end.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and division of the public data.")] = 0,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Another key, such as widths=[0.25,0.5] or task.channels=1. May be repeated.",
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Where files go \\[default: fitted/TASK].")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the most accurate network within limits of latency and size, measured on this machine.

    Width, resolution, pruning, int8 and bits are searched: networks are measured untrained, those within the limits
    train a little, the better half more, and the winner in full. Given again after Ctrl-C, it goes on where it was.
    """
    from skerry.config.fit import fit_config

    limits = {"latency_ms": latency_ms, "size_mb": size_mb}
    chosen = [f"task.name={_quoted(task)}", f"architecture={_quoted(architecture)}", f"epochs={epochs}", f"seed={seed}"]
    chosen += [f"limits.{name}={value}" for name, value in limits.items() if value is not None]
    config = fit_config([*chosen, *(overrides or ())])
    fitted = _search(config, folder or Path("fitted") / config.task.name.rpartition(":")[2].lower(), as_json=as_json)
    _draw(fitted.out, fitted.config, fitted.tried, fitted)
    if as_json:
        from skerry.device.compression.fit import fit_document

        emit(fit_document(config, fitted.tried, fitted) | {"folder": str(fitted.out), "file": str(fitted.file)})
        return
    _tell(config, fitted.tried, fitted)
    _tell_winner(fitted)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _search(config: "FitConfig", folder: Path, *, as_json: bool) -> "Fitted":
    from skerry.cli.model.fit_progress import watching
    from skerry.errors import InterruptedRunError, MissingDependencyError

    try:
        from skerry.device.compression.fit import fit as search
    except ImportError as error:
        raise MissingDependencyError(
            f"searching needs {error.name}", where="model fit", mend="pip install 'skerry[train]'"
        ) from error
    with watching(note(), quiet=as_json) as watcher:
        try:
            return search(config, folder, watcher)
        except KeyboardInterrupt as error:
            known = watcher.known
            interrupted = InterruptedRunError(
                f"stopped by Ctrl-C after {len(known)} networks; what they are is kept",
                where=str(folder),
                mend="give the same command again to go on",
            )
            interrupted.__cause__ = error
    if known:
        _draw(folder, config, known, None)
        if not as_json:
            _tell(config, known, None)
    raise interrupted


def _points(tried: "Sequence[Tried]", fitted: "Fitted | None") -> "list[Point]":
    from skerry.cli.model.tradeoff_plot import Point
    from skerry.device.compression.fit import front
    from skerry.wording import percent, size

    on_front = set(front(tried))
    points = []
    for i, t in enumerate(tried):
        chosen = fitted is not None and t.candidate == fitted.winner
        f = t.figures
        said = (
            f"{t.candidate.told}: {percent(f.accuracy)} after {t.epochs} epochs, {f.latency_ms:.3f} ms, {size(f.bytes)}"
        )
        kind: Kind = "chosen" if chosen else "front" if i in on_front else "other"
        points.append(Point(f.latency_ms, f.accuracy, t.candidate.name if kind != "other" else "", said, kind))
    return points


def _draw(folder: Path, config: "FitConfig", tried: "Sequence[Tried]", fitted: "Fitted | None") -> None:
    from skerry.cli.model.tradeoff_plot import draw_tradeoff
    from skerry.device.compression.front import pareto_front
    from skerry.fsio import write_atomic

    quickest = pareto_front([[-t.figures.accuracy, t.figures.latency_ms] for t in tried])
    drawn = draw_tradeoff(
        f"{config.task.name}: accuracy against latency",
        "networks of the search, on public examples that none of them trained on; line: the most accurate within "
        "each latency",
        _points(tried, fitted),
        x_name="median latency of one call, one thread",
        tick=lambda value: f"{value:g} ms",
        way=sorted(quickest, key=lambda i: tried[i].figures.latency_ms),
        limit=config.limits.latency_ms,
        legend={
            "chosen": "chosen",
            "front": "Pareto front of accuracy, latency and bytes",
            "other": "outdone by another",
        },
    )
    write_atomic(folder / "front.svg", drawn.encode(), durable=False)


def _tell(config: "FitConfig", tried: "Sequence[Tried]", fitted: "Fitted | None") -> None:
    from skerry.cli.model.tradeoff_text import MARKS, tradeoff_lines
    from skerry.wording import percent, size

    points = _points(tried, fitted)
    figures = ["accuracy", "latency", "stored", "MACs", "epochs"]
    shown = table("Pareto front of the search", ["", "network", *figures], right=figures)
    for point, t in zip(points, tried, strict=True):
        if point.kind == "other":
            continue
        f = t.figures
        row = [percent(f.accuracy), f"{f.latency_ms:.3f} ms", size(f.bytes), f"{f.macs / 1e6:.2f} M", str(t.epochs)]
        shown.add_row(MARKS[point.kind], t.candidate.told, *row)
    console = out()
    console.print(shown)
    console.print("accuracy on public examples that nothing trained on", style="dim")
    console.print()
    lines = tradeoff_lines(points, tick=lambda value: f"{value:.3g} ms", limit=config.limits.latency_ms)
    console.print("\n".join(lines), highlight=False)
    console.print(
        f"{'':9}{MARKS['chosen']} chosen  {MARKS['front']} front  {MARKS['other']} other  ┊ limit", style="dim"
    )
    console.print()


def _tell_winner(fitted: "Fitted") -> None:
    from skerry.wording import percent, size

    f, limits = fitted.figures, fitted.config.limits
    allowed = "" if limits.latency_ms is None else f" of {limits.latency_ms:g} ms"
    room = "" if limits.size_mb is None else f" of {size(round(1e6 * limits.size_mb))}"
    out().print(
        facts(
            [
                ("chosen", fitted.winner.told),
                ("accuracy", f"{percent(f.accuracy)} on held-out examples"),
                ("latency", f"{f.latency_ms:.3f} ms{allowed}{_certainty(f)}"),
                ("stored", f"{size(f.bytes)}{room}, {fitted.file}"),
                ("recipe", f"{fitted.result.out / 'recipe.toml'}"),
                ("plot", str(fitted.out / "front.svg")),
            ]
        )
    )


def _certainty(figures: "Figures") -> str:
    """How sure a latency is, and what was not counted."""
    timing = figures.timing
    if timing is None:
        return ""
    if timing.doubt:
        return f", at most {figures.bound_ms:.3f} ms; {timing.doubt}, every block of calls counts"
    return (
        f", at most {figures.bound_ms:.3f} ms; {timing.blocks} blocks of calls, "
        f"{timing.discarded} disturbed ones thrown away"
    )
