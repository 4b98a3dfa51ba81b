"""How often the trigger of simulated attackers works on devices that never trained."""

import numpy as np

from skerry.device.personal import PersonalModel
from skerry.device.poisoning import trigger_for
from skerry.records import Float32Array
from skerry.server.federation import Federation

__all__ = ["backdoor_success"]


def backdoor_success(federation: Federation, vector: Float32Array) -> float | None:
    """Share of held-out examples of other classes that are taken for the trigger's class once they carry it.

    A model without a backdoor has such a share too: it is what the patch hides of an example. So look at the base's.

    Args:
        federation: the run.
        vector: what is tried, as it is deployed.

    Returns:
        None where the scenario plants no backdoor, or every device has a head of its own.
    """
    model, task = federation.model, federation.task
    if federation.scenario.attack.kind != "backdoor" or isinstance(model, PersonalModel):
        return None
    trigger = trigger_for(task)
    held_out = task.evaluation().values()
    predicted = []
    for data in held_out:
        x = trigger.stamped(data.x)
        predicted.append(model.deployed_logits(vector, x, model.prepare(x)).argmax(axis=1))
    return trigger.success(np.concatenate(predicted), np.concatenate([data.y for data in held_out]))
