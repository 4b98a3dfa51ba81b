"""Which public examples calibrate int8: a fixed number, spread over the set."""

import numpy as np
import numpy.typing as npt

from skerry.device.tasks.task import Task
from skerry.records import Float32Array

__all__ = ["CALIBRATION_EXAMPLES", "calibration_examples", "spread"]

CALIBRATION_EXAMPLES = 128


def calibration_examples(task: Task) -> Float32Array:
    """``(n, *task.input_shape)`` transformed public examples, at most :data:`CALIBRATION_EXAMPLES`."""
    public = task.public_data()
    return task.transform(public.x[spread(CALIBRATION_EXAMPLES, len(public))])


def spread(count: int, of: int) -> npt.NDArray[np.int64]:
    """``count`` indices spread evenly over ``of`` examples: public data may be sorted by class."""
    return np.unique(np.linspace(0, of - 1, min(count, of)).round().astype(np.int64))
