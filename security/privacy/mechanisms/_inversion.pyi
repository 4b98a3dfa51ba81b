import numpy as np
import numpy.typing as npt

def look_up(
    words: npt.NDArray[np.uint64],
    high: npt.NDArray[np.uint64],
    guide: npt.NDArray[np.int32],
    out: npt.NDArray[np.int64],
    /,
) -> int: ...
