"""Stage *evaluate*: quality on devices that never train."""

import numpy as np

from skerry.device.tasks.metrics import Quality, evaluate
from skerry.errors import RunFailedError
from skerry.records import Float32Array
from skerry.server.federation import Federation

__all__ = ["evaluate_held_out"]


def evaluate_held_out(federation: Federation, vector: Float32Array) -> Quality:
    """Accuracy, loss and calibration over all examples of all held-out devices, as the model is seen in training.

    Raises:
        RunFailedError: the model's scores are not finite any more.
    """
    parts = federation.held_out.scores(vector, "training").values()
    logits, labels = np.concatenate([scores for scores, _ in parts]), [y for _, y in parts]
    if not np.isfinite(logits).all():
        raise RunFailedError(
            "training has diverged: the model's scores are not finite",
            where=federation.run,
            mend="set a smaller training.learning_rate",
        )
    return evaluate(logits, np.concatenate(labels))
