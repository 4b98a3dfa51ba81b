"""Directions of a trained head that stand out against the public head that training began with."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from skerry.device.evaluation.deviations import deviations
from skerry.errors import InputError
from skerry.records import Float32Array

__all__ = ["HeadChange", "head_change"]

_SUSPICIOUS = 4.0  # in deviations of the logarithm; of four honest digits runs one reached 3.3, six poisoned 4.6 to 5.0
_LEAST_DEVIATION = 0.1  # of the logarithm
_LEAST_CLASSES = 5


@dataclass(frozen=True)
class HeadChange:
    """How the rows of the classes changed.

    Attributes:
        lengths: of each class's change, less the mean change of all.
        indices: how far each is above the median, in deviations of the logarithm.
        first: share of the change's square that lies along its first singular direction.
        pulls: the class that this direction speaks for most, an index. Honest training has a first direction too.
    """

    lengths: tuple[float, ...]
    indices: tuple[float, ...]
    first: float
    pulls: int

    @property
    def judged(self) -> bool:
        """Whether there are classes enough to compare: five."""
        return len(self.lengths) >= _LEAST_CLASSES

    @property
    def suspicious(self) -> tuple[int, ...]:
        """Classes that changed far more than the others; none where they are too few to compare."""
        return tuple(target for target, index in enumerate(self.indices) if self.judged and index > _SUSPICIOUS)

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {**asdict(self), "suspicious": list(self.suspicious)}


def head_change(vector: Float32Array, public: Float32Array, classes: int) -> HeadChange:
    """Compare the rows of two heads, ``(d,)`` each, laid out as ``(classes, k)``.

    Spectral signatures (Tran, Li and Madry 2018, arXiv:1811.00636) of the head's change, not of examples, which the
    server never has.

    Raises:
        InputError: they are not of one layout.
    """
    if vector.shape != public.shape or vector.size % classes:
        raise InputError(f"heads of {vector.size} and {public.size} numbers have no rows for {classes} classes")
    change = (vector.astype(np.float64) - public).reshape(classes, -1)
    change -= change.mean(axis=0)
    lengths = np.linalg.norm(change, axis=1)
    left, singular, _ = np.linalg.svd(change, full_matrices=False)
    total = float((singular**2).sum())
    indices = deviations(np.log(np.maximum(lengths, 1e-12)), floor=_LEAST_DEVIATION)
    return HeadChange(
        tuple(lengths.tolist()),
        tuple(indices.tolist()),
        float(singular[0] ** 2 / total) if total > 0 else 0.0,
        int(np.abs(left[:, 0]).argmax()),
    )
