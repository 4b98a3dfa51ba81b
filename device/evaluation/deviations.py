"""Which class stands out: how far each is above the median, in deviations (MAD), as in Neural Cleanse (S&P 2019)."""

import numpy as np
import numpy.typing as npt

__all__ = ["deviations"]

_NORMAL = 1.4826  # from the median absolute deviation to the standard one, of normal figures


def deviations(values: npt.NDArray[np.float64], *, floor: float) -> npt.NDArray[np.float64]:
    """``(c,)``: of ``(c,)`` figures, how far above the median each is, in median absolute deviations times 1.4826.

    Args:
        values: one of each class.
        floor: least deviation: where all others are nearly alike, a trifle is no outlier.

    >>> deviations(np.array([10.0, 10.0, 10.0, 10.0, 10.1]), floor=0.1).round(3).tolist()
    [0.0, 0.0, 0.0, 0.0, 1.0]
    """
    above = values - np.median(values)
    found: npt.NDArray[np.float64] = above / max(_NORMAL * float(np.median(np.abs(above))), floor)
    return found
