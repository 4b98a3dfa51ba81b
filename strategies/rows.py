"""The first look at every matrix of updates, before any rule computes with it."""

import numpy as np

from skerry.errors import AggregationError
from skerry.finite import finite_rows
from skerry.records import Float32Array

__all__ = ["refuse_not_finite", "require_form", "require_tolerance"]


def refuse_not_finite(rows: Float32Array, *, rule: str) -> None:
    """Refuse rows with NaN or infinity, by their numbers.

    One NaN turns a mean, a coordinate-wise median or a distance into NaN, and ``argmin`` over distances even
    picks the NaN row. Rules therefore never answer with one: a bad reply is dropped with a reason before this point,
    and what still arrives here is a fault of the caller that must be heard.

    Raises:
        AggregationError: some rows are not finite.
    """
    bad = np.flatnonzero(~finite_rows(rows))
    if len(bad):
        raise AggregationError(
            f"rows {bad.tolist()} are not finite", where=rule, mend="drop such updates before aggregating"
        )


def require_form(rows: Float32Array, *, rule: str, minimum: int, bound: str = "") -> None:
    """Refuse another form than a float32 matrix, and fewer rows than the rule's guarantee needs.

    Args:
        rows: ``(n, d)`` float32, one delta a row.
        rule: name for the message.
        minimum: rows that the rule's guarantee needs.
        bound: where that number comes from, as in ``2f + 3``.

    Raises:
        AggregationError: not a float32 matrix, or fewer than ``minimum`` rows.
    """
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.dtype != np.float32:
        form = f"{rows.dtype} of shape {rows.shape}" if isinstance(rows, np.ndarray) else type(rows).__name__
        raise AggregationError(f"{rule} takes an (n, d) float32 matrix, got {form}", where=rule)
    if len(rows) < minimum:
        because = f" (n ≥ {bound})" if bound else ""
        raise AggregationError(
            f"{rule} needs at least {minimum} valid updates{because}, there are {len(rows)}",
            where=rule,
            mend="ask more devices, or lower defence.tolerate",
        )


def require_tolerance(tolerate: int, *, rule: str) -> None:
    """Refuse a negative number of hostile devices.

    Raises:
        AggregationError: ``tolerate`` < 0.
    """
    if tolerate < 0:
        raise AggregationError(f"{rule} cannot tolerate {tolerate} devices", where=rule)
