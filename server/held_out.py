"""The devices of a run that never train: their examples, prepared once, and what a vector scores on them.

A run asks for the same scores several times: its base is evaluated before the first round and compared with the final
vector at the end; that one is evaluated after its round, and at the end as it is deployed and device by device.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from skerry.device.local_model import LocalModel
from skerry.device.personal import Form, PersonalModel
from skerry.device.tasks.task import Task
from skerry.records import Float32Array
from skerry.server.checkpoint import vector_digest

__all__ = ["HeldOut", "Scored"]

Scored = Mapping[str, tuple[Float32Array, npt.NDArray[np.int64]]]
"""By device, ``(n, classes)`` scores, which nobody can write to, and the ``(n,)`` labels of the same examples."""


class HeldOut:
    """See the module. What the first vector scored that was asked for, and the newest, is kept and found by the digest
    of the vector: one that was changed in its place is another. That is at most six float32 arrays ``(n, classes)``.

    For one thread at a time.

    Args:
        task: gives the examples, the same whenever it is asked.
        model: of the run.
    """

    def __init__(self, task: Task, model: LocalModel) -> None:
        self._task, self._model = task, model
        self._prepared = {device: (model.prepare(data.x), data.y) for device, data in task.evaluation().items()}
        self._kept: dict[str, dict[Form, Scored]] = {}

    @property
    def devices(self) -> tuple[str, ...]:
        """Their names, in the order of the task."""
        return tuple(self._prepared)

    def scores(self, vector: Float32Array, form: Form) -> Scored:
        """What a vector scores on the examples of each device.

        With personal heads each device is a newcomer, which fits a head on half of its examples: these are not scored
        (:mod:`skerry.device.personal`).

        Args:
            vector: what is evaluated.
            form: as in training, as deployed, or in float32.
        """
        if form == "deployed" and self._model.deployed_as_trained:
            form = "training"
        known = self._known(vector_digest(vector))
        if form not in known:
            found = self._compute(vector, form)
            for scores, _ in found.values():
                scores.flags.writeable = False
            known[form] = found
        return known[form]

    def _known(self, name: str) -> dict[Form, Scored]:
        """Scores of the vector of that name, to which more may be added."""
        if name not in self._kept:
            for older in list(self._kept)[1:]:
                del self._kept[older]
            self._kept[name] = {}
        return self._kept[name]

    def _compute(self, vector: Float32Array, form: Form) -> Scored:
        model = self._model
        if form == "training" and not isinstance(model, PersonalModel):
            return {device: (model.logits(vector, inputs), y) for device, (inputs, y) in self._prepared.items()}
        raw, found = self._task.evaluation(), {}
        for device, (inputs, y) in self._prepared.items():
            x = raw[device].x
            if isinstance(model, PersonalModel):
                found[device] = model.newcomer(vector, x, inputs, y, form)
            elif form == "deployed":
                found[device] = model.deployed_logits(vector, x, inputs), y
            else:
                found[device] = model.float_logits(vector, x), y
        return found
