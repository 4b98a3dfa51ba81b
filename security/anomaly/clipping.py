"""What a verdict ``clip`` does to an update."""

from collections.abc import Sequence

import numpy as np

from skerry.records import Float32Array, Verdict

__all__ = ["clipped"]


def clipped(rows: Float32Array, verdicts: Sequence[Verdict]) -> Float32Array:
    """Each row times its verdict's scale; the same array where nothing is clipped.

    Args:
        rows: ``(n, d)`` float32; not changed.
        verdicts: n verdicts of rows that are kept.
    """
    scales = np.array([verdict.scale for verdict in verdicts], np.float32)
    return rows if (scales == 1).all() else rows * scales[:, None]
