"""A task's held-out examples as a corrupted sensor would have given them, ready for the network."""

import numpy as np
import numpy.typing as npt

from skerry.device.evaluation.picture_corruptions import PICTURE_CORRUPTIONS, corrupt_pictures
from skerry.device.evaluation.window_corruptions import WINDOW_CORRUPTIONS, corrupt_windows
from skerry.device.tasks.task import Task
from skerry.errors import InputError
from skerry.records import Float32Array

__all__ = ["SEVERITIES", "corrupted", "corruptions_of"]

SEVERITIES = (1, 2, 3, 4, 5)


def corruptions_of(task: Task) -> tuple[str, ...]:
    """Names of the ten corruptions that suit a task: windows have height 1, all else are pictures."""
    return tuple(WINDOW_CORRUPTIONS if _windows(task) else PICTURE_CORRUPTIONS)


def corrupted(task: Task, x: npt.NDArray[np.generic], name: str, severity: int, seed: int) -> Float32Array:
    """Raw examples to corrupted network input.

    Pictures are corrupted as the camera gives them, before they are resized; windows after they are standardised, where
    one unit is the sensor's declared scale. The same name, severity and seed give the same input for every model.

    Args:
        task: whose transform is used.
        x: raw examples, as the task gives them.
        name: one of :func:`corruptions_of`.
        severity: 1 to 5.
        seed: of this batch.

    Raises:
        InputError: the raw pictures are not ``(n, h, w, 1 or 3)`` uint8.
    """
    number = corruptions_of(task).index(name)
    generator = np.random.default_rng([seed, number, severity])
    if _windows(task):
        return corrupt_windows(task.transform(x), name, severity, generator)
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[3] not in {1, 3}:
        raise InputError(
            f"corruptions are defined for (n, height, width, 1 or 3) uint8 pictures, not {x.shape} {x.dtype}",
            where=f"task {task.name}",
            mend="leave corruptions out (--no-corruptions)",
        )
    return task.transform(corrupt_pictures(x.astype(np.uint8), name, severity, generator))


def _windows(task: Task) -> bool:
    return task.input_shape[1] == 1
