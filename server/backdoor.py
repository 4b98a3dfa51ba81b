"""How often the trigger of simulated attackers works on devices that never trained, and a run's head without it."""

import json

import numpy as np

from skerry.config import Scenario
from skerry.device.head_model import HeadModel
from skerry.device.local_model import LocalModel
from skerry.device.personal import PersonalModel
from skerry.device.poisoning import trigger_for
from skerry.device.tasks.task import Task
from skerry.device.training.head_removal import clean_head
from skerry.device.worker import process_worker
from skerry.errors import InputError
from skerry.records import Float32Array
from skerry.runfolder import RunFolder
from skerry.server.checkpoint import load_checkpoint

__all__ = ["backdoor_success", "base_digest", "check_cleanable", "head_without_backdoor"]


def base_digest(folder: RunFolder) -> str:
    """By which the base that a run trained on is found."""
    digest: str = json.loads((folder.path / "model" / "base.json").read_text(encoding="utf-8"))["digest"]
    return digest


def backdoor_success(scenario: Scenario, task: Task, model: LocalModel, vector: Float32Array) -> float | None:
    """Share of held-out examples of other classes that are taken for the trigger's class once they carry it.

    A model without a backdoor has such a share too: it is what the patch hides of an example. So look at the base's.

    Args:
        scenario: of the run.
        task: its task.
        model: its model.
        vector: what is tried, as it is deployed.

    Returns:
        None where the scenario plants no backdoor, or every device has a head of its own.
    """
    if scenario.attack.kind != "backdoor" or isinstance(model, PersonalModel):
        return None
    trigger = trigger_for(task)
    held_out = task.evaluation().values()
    predicted = []
    for data in held_out:
        x = trigger.stamped(data.x)
        predicted.append(model.deployed_logits(vector, x, model.prepare(x)).argmax(axis=1))
    return trigger.success(np.concatenate(predicted), np.concatenate([data.y for data in held_out]))


def check_cleanable(folder: RunFolder) -> None:
    """Refuse a run whose model :func:`head_without_backdoor` cannot clean; reads no data and loads no model.

    Raises:
        InputError: no round was finished, or the run trained more than a head.
    """
    if load_checkpoint(folder) is None:
        raise InputError("no round of this run was finished: there is no head to clean", where=folder.id)
    if (trainable := folder.scenario.model.trainable) != "head":
        raise InputError(
            f'this run trained model.trainable = "{trainable}", and only heads are cleaned so',
            where=folder.id,
            mend="skerry.device.training.removal cleans torch networks",
        )


def head_without_backdoor(folder: RunFolder) -> Float32Array:
    """The head of a run's last finished round after :func:`~skerry.device.training.head_removal.clean_head`.

    Returns:
        ``(d,)`` float32; the run's own files stay as they are.

    Raises:
        InputError: as :func:`check_cleanable`.
    """
    check_cleanable(folder)
    scenario, checkpoint = folder.scenario, load_checkpoint(folder)
    worker = process_worker()
    task = worker.task(scenario.task, scenario.model)
    model = worker.model(scenario.model, base_digest(folder), task)
    assert checkpoint is not None  # checked above, as is the next
    assert isinstance(model, HeadModel)
    return clean_head(checkpoint.released, model.initial(), model.prepare(task.public_data().x))
