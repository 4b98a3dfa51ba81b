"""A model without what may be a backdoor, written beside the one that it was made from."""

import json
import secrets
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skerry.device.models import ARCHITECTURES
from skerry.device.tasks.task import Task
from skerry.device.worker import process_worker
from skerry.errors import InputError
from skerry.fsio import disk_errors
from skerry.records import Float32Array
from skerry.runfolder import RunFolder
from skerry.server.backdoor import backdoor_success, base_digest, head_without_backdoor
from skerry.server.checkpoint import load_checkpoint, vector_digest

__all__ = ["Cleaning", "check_new", "write_cleaned"]

_METHOD = "clip of the head's change: features that public examples use least, classes that changed most (ADR 37)"


@dataclass(frozen=True)
class Cleaning:
    """What cleaning did; shares of held-out examples.

    Attributes:
        path: folder of the cleaned model.
        accuracy: before.
        accuracy_after: after.
        success: how often the trigger of simulated attackers worked before; None where none is known.
        success_after: the same after.
    """

    path: str
    accuracy: float
    accuracy_after: float
    success: float | None
    success_after: float | None

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)


def check_new(out: Path) -> None:
    """Refuse a folder that is there already.

    Raises:
        InputError: it is.
    """
    if out.exists():
        raise InputError("a cleaned model is never written over anything", where=str(out), mend="name a new folder")


def write_cleaned(folder: RunFolder, task: Task, out: Path) -> Cleaning:
    """Write the cleaned head of a run as a deliverable; the folder appears whole or not at all, the run stays as it is.

    Its card says what was done, to what, and what it cost.

    Raises:
        InputError: ``out`` is there already, the run trained more than a head, or no round of it was finished.
    """
    check_new(out)
    cleaned = head_without_backdoor(folder)
    checkpoint = load_checkpoint(folder)
    assert checkpoint is not None  # there was a head to clean
    scenario = folder.scenario
    model = process_worker().model(scenario.model, base_digest(folder), task)

    def tried(vector: Float32Array) -> tuple[float, float | None]:
        held_out = task.evaluation().values()
        right = [model.deployed_logits(vector, d.x, model.prepare(d.x)).argmax(1) == d.y for d in held_out]
        success = backdoor_success(scenario, task, model, vector) if scenario.attack.devices else None
        return float(np.concatenate(right).mean()), success

    (accuracy, success), (accuracy_after, success_after) = tried(checkpoint.released), tried(cleaned)
    done = Cleaning(str(out), accuracy, accuracy_after, success, success_after)
    card = {
        **_said_of(folder),
        "held_out_accuracy": accuracy_after,
        "quality": {"measured_on": "devices that never trained", "deployed": {"accuracy": accuracy_after}},
        "removal": {
            "method": _METHOD,
            "from": {"run": folder.id, "round": checkpoint.round, "vector": vector_digest(checkpoint.released)},
            **{name: value for name, value in done.to_json().items() if name != "path"},
        },
    }
    _write_whole(out, lambda path: model.assemble(cleaned, path, card))
    return done


def _said_of(folder: RunFolder) -> dict[str, Any]:
    """What a card says of the run; its privacy from the run's own card, as cleaning looks at no private data."""
    scenario, path = folder.scenario, folder.path / "model" / "card.json"
    said: dict[str, Any] = {
        "run": folder.id,
        "scenario": scenario.name,
        "trainable": scenario.model.trainable,
        "rounds": scenario.rounds,
    }
    declared = ARCHITECTURES.get(scenario.model.architecture)
    if declared is not None:
        said["normalisation"] = declared.normalisation
    if path.is_file():
        privacy = json.loads(path.read_text(encoding="utf-8"))["privacy"]
        said["privacy"] = {name: value for name, value in privacy.items() if name != "statement"} or "unknown"
    return said


def _write_whole(out: Path, write: Callable[[Path], object]) -> None:
    made = out.with_name(f".{out.name}-{secrets.token_hex(4)}")
    with disk_errors(out):
        made.mkdir(parents=True)
        try:
            write(made)
            made.rename(out)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
