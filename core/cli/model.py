"""``skerry model``: build a base, show what is on this machine, and measure what a run delivered."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skerry.cli.console import AsJson, RunName, RunsDir, emit, facts, note, out, table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from skerry.device.basemodel import BaseModel
    from skerry.device.local_model import LocalModel
    from skerry.device.tasks.task import Task
    from skerry.records import Float32Array
    from skerry.runfolder import RunFolder

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Build, show and evaluate models.")


@app.command()
def build(
    scenario: Annotated[
        Path | None, typer.Argument(metavar="[SCENARIO]", help="A scenario file; the shipped one when left out.")
    ] = None,
    *,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key. May be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Build the frozen base of a scenario from published weights and public data, or find the one built before."""
    from rich.text import Text

    from skerry.config import default_scenario, load_scenario
    from skerry.device.basebuild import build_base
    from skerry.device.tasks.registry import load_task
    from skerry.errors import ScenarioError

    chosen = load_scenario(scenario, overrides or ()) if scenario else default_scenario(overrides or ())
    if chosen.model.trainable != "head":
        raise ScenarioError(
            f'model.trainable = "{chosen.model.trainable}" has no frozen base to build', where="model.trainable"
        )

    def progress(stage: str) -> None:
        if not as_json:
            note().print(Text(stage, style="dim"))

    base = build_base(chosen.model, load_task(chosen.task, chosen.model), progress=progress)
    _tell(_base_facts(base), as_json=as_json)


@app.command()
def show(
    model: Annotated[
        str | None, typer.Argument(metavar="[DIGEST|RUN]", help="A base's digest or its beginning, or a run.")
    ] = None,
    *,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Show a base, or what a run delivered; with nothing named, the bases on this machine."""
    from skerry.device.basemodel import BaseModel, model_store

    store = model_store()
    digests = sorted(path.parent.name for path in store.glob("*/base.json") if not path.parent.name.startswith("."))
    if model is None:
        _list([_base_facts(BaseModel.load(digest, store)) for digest in digests], store, as_json=as_json)
        return
    found = [digest for digest in digests if len(model) >= 4 and digest.startswith(model)]
    if len(found) == 1:
        _tell(_base_facts(BaseModel.load(found[0], store)), as_json=as_json)
        return
    _tell(_card(_open(model, runs_dir)), as_json=as_json)


@app.command()
def evaluate(run: RunName, *, runs_dir: RunsDir = None, as_json: AsJson = False) -> None:
    """Measure a run's final model anew on the devices that never trained.

    The delivered file itself is run, and beside it the same head over the float base. An interrupted run is measured
    at its last finished round.
    """
    from skerry.device.tasks.registry import load_task

    folder = _open(run, runs_dir)
    scenario = folder.scenario
    task = load_task(scenario.task, scenario.model)
    document = {"run": folder.id, **_measure(folder, task)}
    if as_json:
        emit(document)
        return
    from skerry.wording import percent

    figures = ["accuracy", "loss", "calibration error"]
    shown = table(f"{folder.id} on held-out devices", ["model", *figures], right=figures)
    for row in document["models"]:
        shown.add_row(row["name"], percent(row["accuracy"]), f"{row['loss']:.3f}", percent(row["ece"]))
    console = out()
    console.print(shown)
    console.print()
    rows = [(device, percent(accuracy)) for device, accuracy in document["devices"].items()]
    if document["agreement"] is not None:
        rows.append(("float and int8 agree", percent(document["agreement"])))
    console.print(facts(rows))


def _measure(folder: "RunFolder", task: "Task") -> dict[str, Any]:
    import numpy as np

    from skerry.device.local_model import HeadModel, load_local_model
    from skerry.device.tasks.metrics import evaluate as quality
    from skerry.errors import InputError
    from skerry.server.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(folder)
    named = folder.path / "model" / "base.json"
    if checkpoint is None or not named.is_file():
        raise InputError(
            "no round of this run was finished: there is no model to measure",
            where=str(folder.path),
            mend=f"`skerry runs show {folder.id}` says how far it came",
        )
    config = folder.scenario.model
    digest = json.loads(named.read_text(encoding="utf-8"))["digest"]
    model = load_local_model(config, None if config.trainable == "full" else digest, task)
    held_out = task.evaluation()
    labels = np.concatenate([data.y for data in held_out.values()])
    deployed = {d: _deployed(folder, task, model, checkpoint.vector, data.x) for d, data in held_out.items()}
    scores = np.concatenate(list(deployed.values()))
    models, agreement = [{"name": _deployed_name(folder, model), **quality(scores, labels).__dict__}], None
    if isinstance(model, HeadModel) and model.quantized:
        floating = np.concatenate([model.float_logits(checkpoint.vector, data.x) for data in held_out.values()])
        models.append({"name": "the same head over the float base", **quality(floating, labels).__dict__})
        agreement = float(np.mean(floating.argmax(1) == scores.argmax(1)))
    return {
        "round": checkpoint.round,
        "models": models,
        "agreement": agreement,
        "devices": {d: quality(deployed[d], data.y).accuracy for d, data in held_out.items()},
    }


def _delivered(folder: "RunFolder") -> Path | None:
    found = sorted((folder.path / "model").glob("model.*.onnx"))
    return found[0] if found else None


def _deployed(
    folder: "RunFolder", task: "Task", model: "LocalModel", vector: "Float32Array", x: "npt.NDArray[np.generic]"
) -> "Float32Array":
    """Scores by the delivered file when the run made one, else by the base and the last finished round's head."""
    from skerry.device.runtime import OnnxModel

    path = _delivered(folder)
    if path is not None:
        return OnnxModel(path).run(task.transform(x))
    return model.logits(vector, model.prepare(x))


def _deployed_name(folder: "RunFolder", model: "LocalModel") -> str:
    path = _delivered(folder)
    if path is not None:
        return f"{path.name}, as delivered"
    return "int8 base and head" if getattr(model, "quantized", False) else "float model"


def _open(run: str, parent: Path | None) -> "RunFolder":
    from skerry.runfolder import RunFolder, runs_dir

    return RunFolder.open(run, runs_dir(parent))


def _base_facts(base: "BaseModel") -> dict[str, Any]:
    sizes = {path.name: path.stat().st_size for path in sorted(base.path.glob("*.onnx"))}
    small, large = sizes.get("base.int8.onnx"), sizes.get("base.fp32.onnx")
    return {
        "kind": "base",
        "digest": base.digest,
        **{key: base.facts[key] for key in ("architecture", "input_size", "bits", "components", "classes")},
        "path": str(base.path),
        "files": sizes,
        "int8_share": small / large if small and large else None,
    }


def _card(folder: "RunFolder") -> dict[str, Any]:
    from skerry.errors import InputError

    path = folder.path / "model" / "card.json"
    if not path.is_file():
        raise InputError(
            "this run has delivered no model", where=str(path), mend=f"`skerry runs show {folder.id}` says why"
        )
    card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {"kind": "delivered", "path": str(folder.path / "model"), **card}


def _list(bases: list[dict[str, Any]], store: Path, *, as_json: bool) -> None:
    from skerry.wording import size

    if as_json:
        emit({"store": str(store), "bases": bases})
        return
    if not bases:
        note().print(f"there are no bases in {store}; `skerry model build` makes one", markup=False, soft_wrap=True)
        return
    figures = ["input", "bits", "classes", "int8", "float"]
    shown = table(f"bases in {store}", ["digest", "architecture", *figures], right=figures)
    for base in bases:
        files = base["files"]
        sizes = [size(files.get(f"base.{kind}.onnx")) for kind in ("int8", "fp32")]
        shape = [str(base["input_size"]), str(base["bits"]), str(len(base["classes"]))]
        shown.add_row(base["digest"][:12], base["architecture"], *shape, *sizes)
    out().print(shown)


def _tell(document: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit(document)
        return
    from skerry.wording import percent, size

    rows: list[tuple[str, str]] = []
    for key, value in document.items():
        if key == "files":
            rows += [(name, size(count)) for name, count in value.items()]
        elif key == "int8_share":
            rows.append(("int8 size of float", percent(value)))
        elif key != "schema":
            rows.append((key.replace("_", " "), _plain(value)))
    out().print(facts(rows))


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
