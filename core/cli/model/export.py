"""``skerry model export``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skerry.cli.console import AsJson, RunsDir, emit, note, out, table
from skerry.cli.model.zoo_options import ClassesOption, InputsOption, WidthOption, network_options

if TYPE_CHECKING:
    from skerry.device.export import Calibration
    from skerry.device.model_source import ModelSource

__all__ = ["export"]


def export(
    source: Annotated[str, typer.Argument()],
    *,
    formats: Annotated[
        list[str],
        typer.Option("--format", metavar="LIST", help="onnx, onnx-int8, safetensors, executorch, executorch-int8."),
    ],
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where to write; made when missing.")],
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="TASK|FILE|noise",
            help="What int8 is calibrated on, and files are checked on: a task's public data, a .npy file of "
            "transformed examples, or noise.",
        ),
    ] = None,
    checked: Annotated[int, typer.Option(min=2, help="Inputs on which each file is compared with torch.")] = 64,
    inputs: InputsOption = None,
    classes: ClassesOption = None,
    width: WidthOption = 1.0,
    seed: Annotated[int, typer.Option(help="Of noise, and of an untrained network's weights.")] = 0,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Write a model for other runtimes, with its card; each file is compared with torch before it gets its name.

    SOURCE is a run, the beginning of a base's digest, a graph file, a folder that compress wrote, an ONNX file of
    skerry's, or a network of the zoo.
    """
    from skerry.device.model_source import resolve_model
    from skerry.errors import InputError, MissingDependencyError
    from skerry.runfolder import runs_dir as runs_in
    from skerry.wording import size

    try:
        from skerry.device.export import FORMATS, export_model
    except ImportError as error:
        raise MissingDependencyError(f"exporting needs {error.name}", mend="pip install 'skerry[train]'") from error
    chosen = [name.strip() for text in formats for name in text.split(",") if name.strip()]
    if unknown := [name for name in chosen if name not in FORMATS]:
        raise InputError(f"{unknown[0]!r} is no format", where="--format", mend=f"known are: {', '.join(FORMATS)}")
    found = resolve_model(source, runs_in(runs_dir), network_options(inputs, classes, width, seed))

    def say(text: str) -> None:
        if not as_json:
            note().print(text, style="dim")

    made = export_model(
        found,
        chosen,
        folder,
        calibration=_calibration(calibration, found, seed),
        inputs=checked,
        seed=seed,
        progress=say,
    )
    if as_json:
        emit({"out": str(folder), **made.card})
        return
    shown = table(f"{found.name} in {folder}", ["file", "size", "apart from torch", "tolerated"], right=["size"])
    for name, entry in made.card["files"].items():
        check = entry["check"]
        apart = f"{check['relative']:.1e} of the outputs' size, on {check['inputs']} inputs"
        shown.add_row(name, size(entry["bytes"]), apart, f"{check['tolerated']:g}")
    shown.add_row("card.md, card.json", "", "", "")
    out().print(shown)
    if found.note:
        out().print(found.note, style="dim")


def _calibration(name: str | None, source: "ModelSource", seed: int) -> "Calibration | None":
    """The examples that the user names; for a run that names none, its task's public data."""
    import numpy as np

    from skerry.config import ModelConfig, TaskConfig
    from skerry.device.export import Calibration
    from skerry.device.tasks.registry import load_task
    from skerry.errors import InputError

    count = 128
    if name is None and source.run is not None:
        scenario = source.run.scenario
        task, origin = load_task(scenario.task, scenario.model), f"public data of the task {scenario.task.name}"
    elif name is None:
        return None
    elif name == "noise":
        noise = np.random.default_rng(seed).standard_normal((count, *source.graph().input_shape), np.float32)
        return Calibration(noise, "noise: accuracy is not what it would be with real examples")
    elif name.endswith(".npy"):
        try:
            examples = np.load(name, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"this is no .npy file of numbers: {error}", where=name) from error
        if examples.ndim != 4:
            raise InputError(
                f"examples have the shape {examples.shape}", where=name, mend="(n, channels, height, width)"
            )
        return Calibration(np.ascontiguousarray(examples, np.float32), f"the file {Path(name).name}")
    else:
        channels, height, _ = source.graph().input_shape
        settings = TaskConfig(name=name, channels=1 if channels == 1 else 3)
        architecture = str(source.facts.get("base", source.facts).get("architecture", "efficientnet_lite0"))
        task = load_task(settings, ModelConfig(input_size=max(8, height), architecture=architecture))
        origin = f"public data of the task {name}"
    public = task.public_data()
    rows = np.unique(np.linspace(0, len(public) - 1, min(count, len(public))).round().astype(int))
    return Calibration(task.transform(public.x[rows]), f"{len(rows)} examples of the {origin}")
