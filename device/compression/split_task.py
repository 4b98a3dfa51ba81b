"""A task whose public data are divided: one part to train on, one to choose by.

Held-out examples say how good the chosen network is; who also chooses by them believes a figure that is too good.
"""

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.canonical import digest
from skerry.device.tasks.task import Task
from skerry.errors import InputError
from skerry.records import Examples, Float32Array

__all__ = ["SplitTask"]

_SHARE = 5  # one in five to choose by
_MOST = 2000


class SplitTask:
    """The same task with a fifth of its labelled public data (2,000 at most) in place of the held-out holders.

    Args:
        task: whose public data.
        seed: of the division.

    Raises:
        InputError: there are too few labelled public examples to divide.
    """

    def __init__(self, task: Task, seed: int) -> None:
        self._task, self._seed = task, seed
        self.name, self.classes, self.input_shape = task.name, task.classes, task.input_shape
        _ = self._parts

    @cached_property
    def _parts(self) -> tuple[Examples, Examples]:
        data = self._task.public_data()
        labelled = np.flatnonzero(data.y >= 0)
        chosen = min(_MOST, len(labelled) // _SHARE)
        if chosen < len(self.classes):
            raise InputError(
                f"{len(labelled)} labelled public examples are too few to train on some and choose by others",
                where=f"task {self.name}",
                mend="name more (task.public, task.public_examples)",
            )
        order = np.random.default_rng(self._seed).permutation(labelled)
        return data.select(np.sort(order[chosen:])), data.select(np.sort(order[:chosen]))

    def devices(self) -> tuple[str, ...]:
        """None: nobody's own data take part."""
        return ()

    def local_data(self, device: str) -> Examples:
        """Refused."""
        raise InputError(f"{device!r} has no part in this", where=f"task {self.name}")

    def public_data(self) -> Examples:
        """The part to train on."""
        return self._parts[0]

    def evaluation(self) -> Mapping[str, Examples]:
        """The part to choose by."""
        return MappingProxyType({"public": self._parts[1]})

    def transform(self, x: npt.NDArray[Any]) -> Float32Array:
        """As the task does."""
        return self._task.transform(x)

    def identity(self, device: str | None = None) -> str:
        """Digest of the division; the data themselves count where they are used."""
        return digest(["split", self._seed, self._task.identity(device)])
