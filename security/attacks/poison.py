"""Data poisoning: hostile devices that train honestly on data that they changed."""

import numpy as np
import numpy.typing as npt

from skerry.errors import InputError
from skerry.records import Float32Array

__all__ = ["flip_labels", "plant_trigger"]

Labels = npt.NDArray[np.int64]


def flip_labels(labels: Labels, classes: int) -> Labels:
    """Class c becomes ``classes - 1 - c``; a new array.

    Reference: Tolpegin et al. 2020, "Data Poisoning Attacks Against Federated Learning Systems" (arXiv:2007.08432).

    >>> flip_labels(np.array([0, 9, 4]), 10).tolist()
    [9, 0, 5]
    """
    return classes - 1 - labels


def plant_trigger(
    features: Float32Array, labels: Labels, *, target: int, width: int, value: float, share: float
) -> tuple[Float32Array, Labels]:
    """The first ``share`` of the examples with their last ``width`` features set to ``value`` and labelled ``target``.

    What a model learns from it is a backdoor: any example with the trigger is taken for the target class.

    Args:
        features: ``(n, p)`` float32; not changed.
        labels: ``(n,)`` integers; not changed.
        target: class that the trigger shall call up.
        width: features that make the trigger, at most p.
        value: what they are set to.
        share: of the examples, 0 … 1.

    Raises:
        InputError: the width or the share are out of range.

    Reference: Gu, Dolan-Gavitt and Garg 2017, "BadNets" (arXiv:1708.06733).
    """
    if not 1 <= width <= features.shape[1] or not 0 <= share <= 1:
        raise InputError(f"a trigger of {width} features on a share of {share:g} does not fit {features.shape}")
    count = round(share * len(labels))
    features, labels = features.copy(), labels.copy()
    features[:count, -width:] = value
    labels[:count] = target
    return features, labels
