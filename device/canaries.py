"""Canaries: examples planted among a simulated device's data, whose presence an audit then tries to guess.

Each canary is put in or left out by a fair coin. What the device releases must not tell which, beyond what its ε
allows. Three kinds, from the one that shows best to the one that is most like data:

* ``crafted``: rows of features in directions that no two canaries share, so that each one's gradient is at the clip and
  can be told from all others. No picture need give such a row: the guarantee of
  :class:`~skerry.device.training.head.HeadTrainer` speaks of every row.
* ``mislabelled``: public examples under a wrong label (Nasr et al. 2021, "Adversary instantiation").
* ``natural``: public examples under their own label.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.device.local_model import LocalModel
from skerry.device.tasks.task import Task
from skerry.errors import InputError
from skerry.records import Float32Array
from skerry.security.privacy.stream import derive_generator

__all__ = ["Canaries", "CanaryPlan", "canaries_of", "crafted_rows", "planted"]

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CanaryPlan:
    """What is planted on one device.

    Attributes:
        kind: ``crafted``, ``mislabelled`` or ``natural``.
        seed: of the canaries themselves; anybody may know it.
        length: L2 norm of a crafted row.
        coins: one character a canary, ``1`` for put in.
    """

    kind: str
    seed: int
    length: float
    coins: str

    def __post_init__(self) -> None:
        if not self.coins or set(self.coins) - {"0", "1"}:
            raise InputError("coins are written as 0 and 1, one for each canary")

    @property
    def inside(self) -> npt.NDArray[np.bool_]:
        """``(m,)``: which were put in."""
        return np.array([coin == "1" for coin in self.coins])


@dataclass(frozen=True)
class Canaries:
    """A device's canaries, prepared as its own examples are, those left out included.

    Attributes:
        inputs: ``(m, …)``.
        labels: ``(m,)``.
    """

    inputs: Any
    labels: Labels


def crafted_rows(width: int, classes: int, count: int, length: float, seed: int) -> tuple[Float32Array, Labels]:
    """Rows of features whose gradients are nearly orthogonal for any two of them.

    Rows lie along the axes of a random rotation of the features (the bias's constant is 0), in turn under each label.
    Two rows along one axis differ in label; their gradients meet at about -0.1 of their squared length.

    Args:
        width: k, length of a row.
        classes: number of classes.
        count: m, at most (k - 1) · classes.
        length: L2 norm of each row.
        seed: of the rotation.

    Returns:
        ``(m, k)`` float32 and ``(m,)`` int64.

    Raises:
        InputError: there is no room for so many.
    """
    axes = width - 1
    if not 0 < count <= axes * classes:
        raise InputError(
            f"{count} crafted canaries do not fit into {axes} features and {classes} classes",
            where="audit.canaries",
            mend=f"at most {axes * classes} on each device",
        )
    generator = derive_generator(seed, "crafted canaries")
    rotation = np.linalg.qr(generator.normal(size=(axes, axes)))[0]
    places = generator.permutation(axes * classes)[:count]
    rows = np.zeros((count, width), np.float32)
    rows[:, :-1] = length * rotation[places % axes]
    return rows, (places // axes).astype(np.int64)


def canaries_of(plan: CanaryPlan, task: Task, model: LocalModel) -> Canaries:
    """All canaries of a device.

    Raises:
        InputError: there are not enough public examples, or no room for so many crafted rows.
    """
    count = len(plan.coins)
    if plan.kind == "crafted":
        sample = model.prepare(task.public_data().x[:1])
        rows, labels = crafted_rows(sample.shape[-1], len(task.classes), count, plan.length, plan.seed)
        return Canaries(np.broadcast_to(_like(rows, sample), (count, *sample.shape[1:])), labels)
    public = task.public_data()
    if len(public.y) < count:
        raise InputError(
            f"{count} canaries are to be public examples, and the task has {len(public.y)} of those",
            where="audit.kind",
            mend='audit.kind = "crafted", or fewer canaries',
        )
    generator = derive_generator(plan.seed, "public canaries")
    chosen = generator.choice(len(public.y), size=count, replace=False)
    labels = public.y[chosen].astype(np.int64)
    if plan.kind == "mislabelled":
        labels = (labels + generator.integers(1, len(task.classes), size=count)) % len(task.classes)
    return Canaries(model.prepare(public.x[chosen]), labels)


def planted(inputs: Any, labels: Labels, plan: CanaryPlan, canaries: Canaries) -> tuple[Any, Labels]:
    """A device's examples with those canaries after them whose coins put them in."""
    inside = plan.inside
    return (
        np.concatenate([inputs, canaries.inputs[inside]]),
        np.concatenate([labels, canaries.labels[inside]]),
    )


def _like(rows: Float32Array, sample: Any) -> Float32Array:
    """Rows with as many axes as prepared examples have: one whose views are all alike."""
    return rows.reshape(len(rows), *(1,) * (sample.ndim - 2), rows.shape[1])
