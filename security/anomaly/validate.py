"""Checks that need one update alone: does it have the agreed shape, and is every number finite?"""

from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.records import Reason, Score

__all__ = ["check_form", "check_update", "describe_fault"]


def check_update(delta: bytes | npt.NDArray[Any], size: int) -> Reason | None:
    """The fault of one update, or None.

    Args:
        delta: the vector, or its bytes as little-endian float32 (nothing is copied).
        size: d, the length of the agreed layout.

    Returns:
        ``SHAPE`` when it is not a float32 vector of d numbers, ``NOT_FINITE`` when it holds NaN or infinity. Freshness
        and authenticity are the envelope's work and come before.

    >>> check_update(np.zeros(3, np.float32), 3) is None
    True
    >>> str(check_update(np.zeros(3, np.float32), 4)), str(check_update(bytes.fromhex("0000c07f"), 1))
    ('shape', 'finite')
    """
    if isinstance(delta, bytes):
        if len(delta) != 4 * size:
            return Reason.SHAPE
        vector = np.frombuffer(delta, "<f4")
    else:
        vector = delta
    return check_form(vector, size) or (None if np.isfinite(vector).all() else Reason.NOT_FINITE)


def check_form(vector: npt.NDArray[Any], size: int) -> Reason | None:
    """``SHAPE`` of what is not a float32 vector of so many numbers: of many it is quicker to see at once which are
    finite (:func:`~skerry.finite.finite_rows`).
    """
    return None if vector.dtype == np.float32 and vector.shape == (size,) else Reason.SHAPE


def describe_fault(delta: bytes | npt.NDArray[Any], size: int) -> Score | None:
    """What an operator should read about the fault that :func:`check_update` finds, or None.

    >>> describe_fault(np.zeros(3, np.float32), 4).sentence
    'Sent float32 numbers of shape (3,); a vector of 4 float32 numbers was agreed.'
    """
    reason = check_update(delta, size)
    if reason is None:
        return None
    if reason is Reason.SHAPE:
        what = f"{len(delta)} bytes" if isinstance(delta, bytes) else f"{delta.dtype} numbers of shape {delta.shape}"
        return Score(reason.value, 0.0, None, None, f"Sent {what}; a vector of {size} float32 numbers was agreed.")
    vector = np.frombuffer(delta, "<f4") if isinstance(delta, bytes) else delta
    count = int(size - np.isfinite(vector).sum())
    return Score(reason.value, float(count), None, 0.0, f"{count} of {size} numbers are NaN or infinite.")
