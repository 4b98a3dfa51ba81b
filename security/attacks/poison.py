"""Data poisoning: hostile devices that train honestly on data whose labels they changed."""

import numpy as np
import numpy.typing as npt

__all__ = ["flip_labels"]

Labels = npt.NDArray[np.int64]


def flip_labels(labels: Labels, classes: int) -> Labels:
    """Class c becomes ``classes - 1 - c``; a new array.

    Reference: Tolpegin et al. 2020, "Data Poisoning Attacks Against Federated Learning Systems" (arXiv:2007.08432).

    >>> flip_labels(np.array([0, 9, 4]), 10).tolist()
    [9, 0, 5]
    """
    return classes - 1 - labels
