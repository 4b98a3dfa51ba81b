"""``skerry security scan``."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skerry.cli.console import AsJson, RunsDir, emit, fail
from skerry.cli.counting import counting

if TYPE_CHECKING:
    from skerry.device.tasks.task import Task
    from skerry.runfolder import RunFolder
    from skerry.server.scan import Cleaning, Scan

__all__ = ["scan"]


def scan(
    model: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run, or a delivered ONNX file.")],
    *,
    invert: Annotated[
        bool,
        typer.Option(
            "--invert", help="Also seek the smallest patch of each class by gradients (Neural Cleanse); slow."
        ),
    ] = False,
    remove: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write a cleaned model of a run's head into a new folder.")
    ] = None,
    scenario: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Whose public examples a file is scanned with; the shipped one if left out."),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one of its keys. May be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws the public examples.")] = 0,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Look for a backdoor in a trained model, on public examples; exit code 1 for a finding or nothing to judge by.

    Finding nothing is no proof: what a scan cannot see is printed with what it saw.
    """
    from skerry.cli.scan_table import tell
    from skerry.errors import RunFailedError
    from skerry.server.backdoor import check_cleanable
    from skerry.server.scan import check_new, write_cleaned
    from skerry.server.scan import scan as look

    run = _run(model, runs_dir)
    task = _task(run, model, remove, scenario, overrides)
    if run is not None and remove is not None:
        check_new(remove)
        check_cleanable(run)
    with tempfile.TemporaryDirectory(prefix="skerry-scan-") as made, counting(as_json=as_json) as progress:
        subject, network = _subject(run, model, task, runs_dir, Path(made), invert=invert)
        found = look(subject, network=network, seed=seed, progress=progress)
    cleaning = None
    if remove is not None:
        assert run is not None
        cleaning = write_cleaned(run, task, remove)
    document = _document(found, run, cleaning)
    if not as_json:
        tell(found, cleaning)
    if found.found:
        fail(
            RunFailedError(
                f"{len(found.found)} signs of a backdoor or of poisoning",
                where=subject.name,
                mend="look at its devices (`skerry fleet list`), train without them, or see --remove",
            ),
            document,
            as_json=as_json,
        )
    if not any(found.judged.values()):
        fail(
            RunFailedError(
                "nothing could be judged: this says neither that there is a backdoor nor that there is none",
                where=subject.name,
                mend="scan the run instead of its file, or have the task give public examples of each class",
            ),
            document,
            as_json=as_json,
        )
    if as_json:
        emit(document)


def _document(found: "Scan", run: "RunFolder | None", cleaning: "Cleaning | None") -> dict[str, Any]:
    return {
        **found.to_json(),
        "run": None if run is None else run.id,
        "removal": None if cleaning is None else cleaning.to_json(),
    }


def _run(model: str, runs_dir: Path | None) -> "RunFolder | None":
    """The run of that name, or None where a file is meant."""
    from skerry.cli.model.facts import open_run

    path = Path(model).expanduser()
    return None if path.is_file() or path.suffix == ".onnx" else open_run(model, runs_dir)


def _task(
    run: "RunFolder | None", model: str, remove: Path | None, scenario: Path | None, overrides: list[str] | None
) -> "Task":
    from skerry.config import default_scenario, load_scenario
    from skerry.device.tasks.registry import load_task
    from skerry.errors import InputError

    if run is None:
        if remove is not None:
            raise InputError(
                "only a run's model is cleaned: a file has no public head to compare with",
                where=model,
                mend="name the run that delivered it",
            )
        chosen = load_scenario(scenario, overrides or ()) if scenario else default_scenario(overrides or ())
    else:
        if scenario or overrides:
            raise InputError(
                "a run is scanned on its own task; --scenario and --set belong to files",
                where=model,
                mend="leave them out, or name the file in its folder model/",
            )
        chosen = run.scenario
    return load_task(chosen.task, chosen.model)


def _subject(
    run: "RunFolder | None", model: str, task: "Task", runs_dir: Path | None, made: Path, *, invert: bool
) -> tuple[Any, Any]:
    """What is scanned, and its network with gradients where shortcuts are sought."""
    from skerry.cli.model.scorers import file_scorers, run_scorers
    from skerry.device.model_source import resolve_model
    from skerry.errors import InputError
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.scan import subject_of_file, subject_of_run

    if run is not None:
        subject = subject_of_run(run, task)
        scorers = run_scorers(run, task)[0] if invert else []
    else:
        source = resolve_model(model, runs_in(runs_dir))
        subject = subject_of_file(Path(model).expanduser(), Path(model).name, task)
        scorers = file_scorers(source, task, made) if invert else []
    if not invert:
        return subject, None
    twins = [scorer.twin for scorer in scorers if scorer.twin is not None]
    if not twins:
        raise InputError(
            "there is no network with gradients in which to seek patches", where=model, mend="leave --invert out"
        )
    return subject, twins[-1]()
