import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array

def middle_means(
    rows: Float32Array,
    order: npt.NDArray[np.int64],
    network: npt.NDArray[np.uint16],
    low: int,
    high: int,
    out: Float32Array,
    /,
) -> bool: ...
