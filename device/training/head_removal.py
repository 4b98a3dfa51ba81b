"""Taking a backdoor out of a head that devices trained from a public one: without training, and without looking for it.

What may be hostile is the change that devices made. Two things are taken off it:

* what it does to features that public examples hardly use: there a trigger can live without being met by clean
  examples (the thought of fine-pruning, Liu, Dolan-Gavitt and Garg 2018, arXiv:1805.12185, of the head's change alone);
* what one class changed by beyond the others: a backdoor pulls at its target class.
"""

import numpy as np

from skerry.errors import InputError
from skerry.records import Float32Array

__all__ = ["clean_head"]

_KEPT = 0.2
_LONGEST = 1.2


def clean_head(
    vector: Float32Array,
    public_head: Float32Array,
    rows: Float32Array,
    *,
    kept: float = _KEPT,
    longest: float = _LONGEST,
) -> Float32Array:
    """A head with what is likely to be a backdoor taken off; ``kept`` = 1 and ``longest`` = inf change nothing.

    Computed from public values and the head alone, so it costs no privacy. No guarantee: what a trigger does to the
    features that public examples use most stays (docs/attack-lab.md). The defaults were chosen on seed 0 of the shipped
    digits, between what is left of the trigger and what is lost of accuracy.

    Args:
        vector: ``(d,)`` float32 head, laid out as ``(classes, k)``, the constant of the bias last.
        public_head: ``(d,)`` float32 head that training began with, from data that nobody poisoned.
        rows: ``(n, k)`` float32 public examples as the head reads them.
        kept: share of the features, the most used ones, in which the change stays; the constant always does.
        longest: the longest change of a class, less that of the mean of all, over the median one.

    Returns:
        ``(d,)`` float32, a new array.

    Raises:
        InputError: shapes do not fit, there are no rows, or a setting is out of range.
    """
    if vector.shape != public_head.shape or rows.ndim != 2 or 0 in rows.shape or vector.size % rows.shape[1]:
        raise InputError(f"heads of {vector.shape} and {public_head.shape} numbers do not read rows of {rows.shape}")
    if not 0 <= kept <= 1 or not longest > 0:
        raise InputError(f"a share of {kept:g} of the features, and {longest:g} times the median, cannot be kept")
    width = rows.shape[1]
    change = (vector.astype(np.float64) - public_head).reshape(-1, width)
    use = np.sqrt((rows[:, :-1].astype(np.float64) ** 2).mean(axis=0))
    change[:, np.argsort(use, kind="stable")[: round((1 - kept) * (width - 1))]] = 0
    lengths = np.linalg.norm(change - change.mean(axis=0), axis=1)
    change *= np.minimum(1.0, longest * np.median(lengths) / np.maximum(lengths, 1e-12))[:, None]
    return (public_head + change.ravel()).astype(np.float32)
