"""``skerry model bench``."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skerry.cli.console import AsJson, RunsDir, emit, note
from skerry.cli.model.zoo_options import ClassesOption, InputsOption, WidthOption, network_options

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from skerry.device.bench.conditions import Condition
    from skerry.device.bench.profile import Profile
    from skerry.device.bench.records import Cell, Settings
    from skerry.device.model_source import NetworkOptions

__all__ = ["bench"]


def bench(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]")] = None,
    *,
    conditions: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LIST",
            help="Some of idle, burn, quota50, quota25, memory (the least that works), memory=256MB, batch=1,4,16, "
            "sustained (default: all).",
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="onnxruntime, torch, executorch, skerry (default: what is installed)."),
    ] = None,
    precision: Annotated[str, typer.Option(metavar="LIST", help="fp32, int8.")] = "fp32,int8",
    threads: Annotated[str, typer.Option(metavar="LIST", help="Threads for one call, such as 1,2.")] = "1",
    inferences: Annotated[int, typer.Option(min=1, help="Calls for one measurement.")] = 200,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long `sustained` runs.")] = 60.0,
    cold_starts: Annotated[int, typer.Option(min=1, help="Fresh processes whose start is timed.")] = 5,
    inputs: InputsOption = None,
    classes: ClassesOption = None,
    width: WidthOption = 1.0,
    seed: Annotated[int, typer.Option(help="Of the noise that is fed, and of an untrained network's weights.")] = 0,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the latencies into an SVG file.")] = None,
    save_profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Keep this machine's measurements by name, or as a .json file."),
    ] = None,
    load_profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="Show a saved profile instead of measuring.")
    ] = None,
    compare: Annotated[str | None, typer.Option(metavar="NAME", help="Compare with a saved profile.")] = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Measure a model under the conditions that devices meet: cold start, latency, throughput, memory.

    MODEL is an ONNX file, a graph file, a folder that compress wrote, a network of the zoo, the beginning of a base's
    digest, or a run.

    Whatever is measured runs in a process of its own. Timings mean little on a machine that does other work: the
    column "elsewhere" says how many cores were busy with it.
    """
    from skerry.cli.model.bench_plot import draw
    from skerry.cli.model.bench_table import tell
    from skerry.device.bench import profile as profiles
    from skerry.device.bench.conditions import DEFAULT_CONDITIONS, parse_conditions
    from skerry.device.bench.records import Settings
    from skerry.errors import InputError
    from skerry.fsio import write_atomic

    chosen = parse_conditions(conditions or DEFAULT_CONDITIONS)
    other = profiles.load_profile(compare) if compare else None
    if save_profile:
        profiles.profile_path(save_profile)
    if (model is None) == (load_profile is None):
        raise InputError("name either a model to measure or a saved profile", mend="see `skerry model bench --help`")
    if load_profile:
        made = profiles.load_profile(load_profile)
    else:
        assert model is not None
        settings = Settings(_threads(threads), inferences, sustained_s=seconds, cold_starts=cold_starts, seed=seed)
        made = _measure(
            model,
            chosen,
            settings,
            options=network_options(inputs, classes, width, seed),
            runtimes=_some(runtime or "", ("onnxruntime", "torch", "executorch", "skerry"), "--runtime"),
            precisions=_some(precision, ("fp32", "int8"), "--precision"),
            runs_dir=runs_dir,
            as_json=as_json,
        )
    saved = str(profiles.save_profile(made, save_profile)) if save_profile else None
    if plot:
        write_atomic(plot, draw(made).encode(), durable=False)
    compared = profiles.compare(made, other) if other else ()
    if as_json:
        document = {**profiles.to_json(made), "saved": saved, "plot": str(plot) if plot else None}
        if other:
            document["compared"] = {"with": compare, "cells": [c.__dict__ for c in compared]}
        emit(document)
        return
    tell(made, compared, other, saved=saved)


def _measure(
    model: str,
    conditions: "Sequence[Condition]",
    settings: "Settings",
    *,
    options: "NetworkOptions",
    runtimes: tuple[str, ...],
    precisions: tuple[str, ...],
    runs_dir: Path | None,
    as_json: bool,
) -> "Profile":
    from skerry.clock import system_clock
    from skerry.device.bench.artefacts import prepare
    from skerry.device.bench.machine import machine, versions
    from skerry.device.bench.measuring import measure, plan
    from skerry.device.bench.profile import Profile
    from skerry.device.model_source import resolve_model
    from skerry.runfolder import runs_dir as runs_in

    source = resolve_model(model, runs_in(runs_dir), options)
    with tempfile.TemporaryDirectory(prefix="skerry-bench-") as folder:

        def say(text: str) -> None:
            if not as_json:
                note().print(text, style="dim")

        prepared = prepare(
            source, Path(folder), runtimes=runtimes, precisions=precisions, seed=settings.seed, progress=say
        )
        cells = plan(prepared.artefacts, conditions, settings)
        with _display(cells, as_json=as_json) as display:
            measurements = tuple(measure(cells, settings, display))
    return Profile(
        schema=1,
        recorded_ms=system_clock(),
        machine=machine(),
        versions=dict(versions()),
        model=prepared.model,
        settings=settings,
        absent=prepared.absent,
        measurements=measurements,
    )


@contextmanager
def _display(cells: "Sequence[Cell]", *, as_json: bool) -> "Iterator[_Display]":
    """A bar that counts cells on a terminal, a line for each elsewhere, nothing beside JSON that a program reads."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = note()
    live = console.is_terminal and not console.is_dumb_terminal
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True, disable=not live) as bar:
        yield _Display(bar if live else None, bar.add_task("", total=len(cells)), quiet=as_json)


class _Display:
    def __init__(self, bar: "Progress | None", task: "TaskID", *, quiet: bool) -> None:
        self._bar = bar
        self._task = task
        self._quiet = quiet
        self._begun = 0

    def __call__(self, cell: "Cell") -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=self._begun, description=cell.name)
        elif not self._quiet:
            note().print(cell.name, style="dim")
        self._begun += 1


def _some(text: str, known: Sequence[str], where: str) -> tuple[str, ...]:
    """The names of a comma-separated list, each once."""
    from skerry.errors import InputError

    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"{unknown[0]!r} is not known here", where=where, mend=f"known are: {', '.join(known)}")
    return names


def _threads(text: str) -> tuple[int, ...]:
    from skerry.errors import InputError

    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or any(not part.isdigit() or not 1 <= int(part) <= 256 for part in parts):
        raise InputError(f"{text!r} is not a list of thread counts", where="--threads", mend="such as 1,2,4")
    return tuple(dict.fromkeys(int(part) for part in parts))
