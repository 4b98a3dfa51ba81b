"""The server's own updates: what devices with public examples of one class each would send in a round."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.device.local_model import LocalModel
from skerry.device.tasks.task import Task
from skerry.device.training.plan import TrainPlan
from skerry.errors import ScenarioError
from skerry.records import Float32Array
from skerry.security.privacy.stream import ChaChaStream, seeded_stream

__all__ = ["RootSet"]

_MOST = 32
"""Examples of a class: they cost as much time in each round as a device with that many of every class."""

_FEW = 8
"""Of them that are tried under each other label: there are many pairs."""

_MOST_CLASSES = 16
"""With more there are too many pairs of classes, and no wrong labels are tried."""

_NOISE = 2.0**-10
"""Noise multiplier: clips as devices do, adds next to nothing."""


@dataclass(frozen=True)
class RootSet:
    """Labelled public examples, prepared, by class."""

    model: LocalModel
    inputs: Mapping[int, Any]
    few: Mapping[int, Any]

    @property
    def can_mislabel(self) -> bool:
        """Whether the classes are few enough for :meth:`mislabelled`."""
        return len(self.inputs) <= _MOST_CLASSES

    @staticmethod
    def of(task: Task, model: LocalModel) -> "RootSet":
        """At most ``_MOST`` public examples of each class, evenly spaced: files are often sorted by more than class.

        Raises:
            ScenarioError: there are labelled ones of fewer than two classes.
        """
        data = task.public_data()
        classes = [label for label in range(len(task.classes)) if (data.y == label).any()]
        if len(classes) < 2:
            raise ScenarioError(
                f"the task {task.name} has labelled public examples of {len(classes)} classes, a root set needs two",
                where="defence.screen",
                mend='leave out "root_set"',
            )
        chosen = {label: _spread(data.y == label, _MOST) for label in classes}
        few = {label: _spread(data.y == label, _FEW) for label in classes}
        return RootSet(
            model,
            {label: model.prepare(data.x[places]) for label, places in chosen.items()},
            {label: model.prepare(data.x[places]) for label, places in few.items()},
        )

    def updates(self, vector: Float32Array, plan: TrainPlan, seed: int, number: int) -> Float32Array:
        """``(k, d)``, one for each class, by a device's own training with next to no noise.

        Args:
            vector: ``(d,)`` what the round starts from.
            plan: what devices are asked to do in it.
            seed: of the run.
            number: of the round.
        """
        return np.stack(
            [
                self._trained(vector, inputs, label, plan, seeded_stream(seed, "root set", number, label))
                for label, inputs in self.inputs.items()
            ]
        )

    def mislabelled(self, vector: Float32Array, plan: TrainPlan, seed: int, number: int) -> Float32Array:
        """``(k² - k, d)``, one for each class under each other label, from at most ``_FEW`` examples.

        Args: as :meth:`updates`.
        """
        return np.stack(
            [
                self._trained(vector, inputs, wrong, plan, seeded_stream(seed, "root set", number, label, wrong))
                for label, inputs in self.few.items()
                for wrong in self.few
                if wrong != label
            ]
        )

    def _trained(
        self, vector: Float32Array, inputs: Any, label: int, plan: TrainPlan, stream: ChaChaStream
    ) -> Float32Array:
        """What a device sends that has these examples under that label alone."""
        labels = np.full(len(inputs), label, np.int64)
        own = replace(plan, views=1, sampling_rate=1.0)
        if plan.unit == "example":
            own = replace(own, noise_multiplier=_NOISE, denominator=len(labels))
        return self.model.train(vector, inputs, labels, own, stream)


def _spread(mask: npt.NDArray[np.bool_], most: int) -> npt.NDArray[np.int64]:
    """Places where the mask holds: all, or so many from the first to the last."""
    places = np.flatnonzero(mask)
    return places[np.linspace(0, len(places) - 1, min(len(places), most)).round().astype(np.int64)]
