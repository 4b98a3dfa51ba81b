"""What a hostile device of a simulation does to its own examples before it trains on them as it should.

The trigger of a backdoor is a corner of the picture, a quarter of its height and width, or the last quarter of a window
of readings, at the highest value that public examples have; it calls up the first class.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.device.tasks.task import Task
from skerry.records import Examples
from skerry.security.attacks import Trigger, flip_labels
from skerry.security.privacy.stream import derive_generator

__all__ = ["poisoned", "trigger_for"]

_SHARE = 0.5  # of the examples that carry the trigger
_PART = 4  # of each side


def poisoned(kind: str, task: Task, device: str) -> Examples:
    """The examples that a hostile device trains on; the same at each call.

    Args:
        kind: ``label_flip`` or ``backdoor``.
        task: whose device it is.
        device: its name.
    """
    data = task.local_data(device)
    if kind == "label_flip":
        return Examples(data.x, flip_labels(data.y, len(task.classes)))
    generator = derive_generator(0, "poison", device)
    return Examples(*trigger_for(task).planted(data.x, data.y, share=_SHARE, generator=generator))


def trigger_for(task: Task) -> Trigger:
    """The trigger that simulated attackers of this task plant, on raw examples."""
    public = task.public_data().x
    return Trigger(target=0, places=_corner(public[0]), value=float(public.max()))


def _corner(example: npt.NDArray[Any]) -> tuple[int, ...]:
    """Places in the flattened example: its last axis is of channels, the ones before it of space or time."""
    marked = np.zeros(example.shape, np.bool_)
    marked[tuple(slice(-max(1, side // _PART), None) for side in example.shape[:-1])] = True
    return tuple(np.flatnonzero(marked).tolist())
