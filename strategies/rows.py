"""The first look at every matrix of updates, before any rule computes with it."""

import numpy as np
import numpy.typing as npt

from skerry.errors import AggregationError
from skerry.records import Float32Array

__all__ = ["finite_rows", "require_rows"]


def finite_rows(rows: Float32Array) -> npt.NDArray[np.bool_]:
    """``(n,)`` mask of the rows without NaN or infinity; needs O(d) extra memory, never O(n·d)."""
    return np.fromiter((bool(np.isfinite(row).all()) for row in rows), np.bool_, len(rows))


def require_rows(rows: Float32Array, *, rule: str, minimum: int) -> None:
    """Refuse what no rule may aggregate: wrong form, too few rows, a number that is not finite.

    One NaN turns a mean, a coordinate-wise median or a distance into NaN, and ``argmin`` over distances even
    picks the NaN row. Rules therefore never meet one: a bad reply is dropped with a reason before this point,
    and what still arrives here is a fault of the caller that must be heard.

    Args:
        rows: ``(n, d)`` float32, one delta a row.
        rule: name for the message.
        minimum: rows that the rule's guarantee needs.

    Raises:
        AggregationError: not a float32 matrix, fewer than ``minimum`` rows, or rows that are not finite.
    """
    if rows.ndim != 2 or rows.dtype != np.float32:
        raise AggregationError(
            f"{rule} takes an (n, d) float32 matrix, got {rows.dtype} of shape {rows.shape}", where=rule
        )
    if len(rows) < minimum:
        raise AggregationError(
            f"{rule} needs at least {minimum} valid updates, there are {len(rows)}",
            where=rule,
            mend="ask more devices, or lower defence.tolerate",
        )
    bad = np.flatnonzero(~finite_rows(rows))
    if len(bad):
        raise AggregationError(
            f"rows {bad.tolist()} are not finite", where=rule, mend="drop such updates before aggregating"
        )
