"""``skerry model evaluate``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skerry.cli.console import AsJson, RunName, RunsDir, emit, facts, out, table
from skerry.cli.model.facts import open_run

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from skerry.device.local_model import LocalModel
    from skerry.device.tasks.task import Task
    from skerry.records import Float32Array
    from skerry.runfolder import RunFolder

__all__ = ["evaluate"]


def evaluate(run: RunName, *, runs_dir: RunsDir = None, as_json: AsJson = False) -> None:
    """Measure a run's final model anew on the devices that never trained.

    The delivered file itself is run, and beside it the same head over the float base. An interrupted run is measured
    at its last finished round.
    """
    from skerry.device.tasks.registry import load_task

    folder = open_run(run, runs_dir)
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
