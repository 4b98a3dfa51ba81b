"""Stage *evaluate*: quality on devices that never train."""

import numpy as np
import numpy.typing as npt

from skerry.device.personal import Form, PersonalModel
from skerry.device.tasks.metrics import Quality, evaluate
from skerry.errors import RunFailedError
from skerry.records import Float32Array
from skerry.server.federation import Federation

__all__ = ["evaluate_held_out", "scores_of"]


def evaluate_held_out(federation: Federation, vector: Float32Array) -> Quality:
    """Accuracy, loss and calibration over all examples of all held-out devices, as the model is seen in training.

    Raises:
        RunFailedError: the model's scores are not finite any more.
    """
    parts = [scores_of(federation, vector, device, "training") for device in federation.held_out]
    logits, labels = np.concatenate([scores for scores, _ in parts]), [y for _, y in parts]
    if not np.isfinite(logits).all():
        raise RunFailedError(
            "training has diverged: the model's scores are not finite",
            where=federation.run,
            mend="set a smaller training.learning_rate",
        )
    return evaluate(logits, np.concatenate(labels))


def scores_of(
    federation: Federation, vector: Float32Array, device: str, form: Form
) -> tuple[Float32Array, npt.NDArray[np.int64]]:
    """Scores of a held-out device's examples, and their labels.

    With personal heads the device is a newcomer, which fits a head on half of its examples: these are not scored
    (:mod:`skerry.device.personal`).

    Args:
        federation: the run.
        vector: what is evaluated.
        device: a held-out device.
        form: as in training, as deployed, or in float32.
    """
    model, (inputs, y) = federation.model, federation.held_out[device]
    if form == "training" and not isinstance(model, PersonalModel):
        return model.logits(vector, inputs), y
    x = federation.task.evaluation()[device].x
    if isinstance(model, PersonalModel):
        return model.newcomer(vector, x, inputs, y, form)
    scores = model.float_logits(vector, x) if form == "float" else model.deployed_logits(vector, x, inputs)
    return scores, y
