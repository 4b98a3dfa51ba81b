"""``skerry model evaluate``."""

import math
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skerry.cli.console import AsJson, RunsDir, emit
from skerry.cli.counting import counting

if TYPE_CHECKING:
    from skerry.config import Scenario
    from skerry.device.evaluation import Evaluation, Plan
    from skerry.device.tasks.task import Task
    from skerry.runfolder import RunFolder

__all__ = ["evaluate"]


class NormOption(StrEnum):
    """In which norm attacks are bounded."""

    LINF = "linf"
    L2 = "l2"


class Fit(StrEnum):
    """On what a temperature is fitted."""

    HELD_OUT = "held-out"
    PUBLIC = "public"


def evaluate(
    model: Annotated[str, typer.Argument(metavar="RUN|FILE", help="A run, a graph file, or an ONNX file.")],
    *,
    beside: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Another file to measure beside it. May be repeated.")
    ] = None,
    scenario: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Whose task and input size a file is measured on; the shipped one if left out."
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one of its keys. May be repeated.")
    ] = None,
    corruptions: Annotated[bool, typer.Option(help="Measure under ten corruptions in five severities.")] = True,
    sample: Annotated[
        int, typer.Option(min=1, help="Held-out examples that are corrupted, attacked, or told from strangers.")
    ] = 300,
    ood: Annotated[
        str | None,
        typer.Option(
            metavar="TASK",
            help="A second task by name, or a scenario file that has one: its examples are to be told apart.",
        ),
    ] = None,
    temperature: Annotated[
        Fit, typer.Option(help="Fit the temperature on the other held-out holders, or on public examples.")
    ] = Fit.HELD_OUT,
    adversarial: Annotated[
        float | None,
        typer.Option(
            metavar="RADIUS",
            help="Also attack the model with PGD: how far inputs may move, as a share of the way from black to white; "
            "of windows, in standard deviations.",
        ),
    ] = None,
    norm: Annotated[NormOption, typer.Option(help="In which the radius is measured.")] = NormOption.LINF,
    autoattack: Annotated[bool, typer.Option("--autoattack", help="AutoAttack too (extra \\[eval]); slow.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of corruptions and attacks.")] = 0,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write tables and plots into one HTML file.")
    ] = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Measure a model on the devices that never trained: quality, calibration, spread, corruptions, strangers, attacks.

    Of a run, the delivered file itself is measured, and beside it the same weights in float; an interrupted run is
    measured at its last finished round. Of a graph, its float form and an int8 one. docs/evaluation.md says what each
    figure means.
    """
    from skerry.cli.model.evaluate_table import tell
    from skerry.device.evaluation import Plan
    from skerry.device.tasks.registry import load_task
    from skerry.fsio import write_atomic

    found = _open(model, runs_dir)
    chosen = _scenario(found, model, beside, scenario, overrides)
    task = load_task(chosen.task, chosen.model)
    strangers = _strangers(ood, chosen) if ood else None
    plan = Plan(
        temperature="public" if temperature is Fit.PUBLIC else "held-out",
        corruptions=corruptions,
        sample=sample,
        strangers=strangers,
        seed=seed,
        adversarial=_radius(adversarial, autoattack=autoattack),
        norm=norm.value,
        auto_attack=autoattack,
    )
    document, evaluation = _measure(found, [model, *(beside or [])], task, plan, runs_dir=runs_dir, as_json=as_json)
    if html:
        from skerry.server.report.evaluation import render_evaluation

        write_atomic(html, render_evaluation(evaluation, document["name"]).encode(), durable=False)
        document["html"] = str(html)
    if as_json:
        emit(document)
    else:
        tell(evaluation, document["name"], html=html)


def _radius(radius: float | None, *, autoattack: bool) -> float | None:
    from skerry.errors import InputError

    if radius is None and autoattack:
        raise InputError("AutoAttack needs a radius", where="--autoattack", mend="add --adversarial 0.03")
    if radius is not None and not 0 < radius < math.inf:
        raise InputError(
            f"the radius of attacks is a positive number, not {radius:g}", where="--adversarial", mend="take 0.03"
        )
    return radius


def _open(model: str, runs_dir: Path | None) -> "RunFolder | None":
    """The run of that name, or None where a file is meant."""
    from skerry.cli.model.facts import open_run
    from skerry.errors import InputError

    path = Path(model).expanduser()
    if path.is_file() or path.suffix in {".onnx", ".safetensors"}:
        return None
    try:
        return open_run(model, runs_dir)
    except InputError:
        return None  # what is not a run may be a base; whatever is neither is named by the search for files


def _scenario(
    run: "RunFolder | None", model: str, beside: list[str] | None, scenario: Path | None, overrides: list[str] | None
) -> "Scenario":
    from skerry.config import default_scenario, load_scenario
    from skerry.errors import InputError

    if run is None:
        return load_scenario(scenario, overrides or ()) if scenario else default_scenario(overrides or ())
    if scenario or overrides or beside:
        raise InputError(
            "a run is measured on its own task; --scenario, --set and --beside belong to files",
            where=model,
            mend=f"name its file: {run.path / 'model' / 'model.int8.onnx'}",
        )
    return run.scenario


def _strangers(ood: str, chosen: "Scenario") -> "Task":
    from skerry.config import TaskConfig, load_scenario
    from skerry.device.tasks.registry import load_task

    named = load_scenario(Path(ood)).task if ood.endswith(".toml") else TaskConfig(name=ood)
    return load_task(named, chosen.model)


def _measure(
    run: "RunFolder | None",
    names: list[str],
    task: "Task",
    plan: "Plan",
    *,
    runs_dir: Path | None,
    as_json: bool,
) -> tuple[dict[str, Any], "Evaluation"]:
    """The document and the evaluation that it tells of."""
    from skerry.cli.model.scorers import file_scorers, run_scorers
    from skerry.device.evaluation import evaluate_models
    from skerry.device.model_source import resolve_model
    from skerry.runfolder import runs_dir as runs_in

    with tempfile.TemporaryDirectory(prefix="skerry-evaluate-") as made:
        head: dict[str, Any]
        if run is not None:
            scorers, at = run_scorers(run, task)
            head = {"name": run.id, "run": run.id, "round": at}
        else:
            scorers = []
            for i, name in enumerate(names):
                folder = Path(made) / str(i)
                folder.mkdir()
                scorers += file_scorers(resolve_model(name, runs_in(runs_dir)), task, folder)
            head = {"name": Path(names[0]).name, "run": None, "round": None}
        with counting(as_json=as_json, unit="examples") as progress:
            evaluation = evaluate_models(task, scorers, plan, progress)
    return {**head, **evaluation.to_json()}, evaluation
