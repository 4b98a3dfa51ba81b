import numpy as np
import numpy.typing as npt

def scores(
    weights: npt.NDArray[np.float32], x: npt.NDArray[np.float32], scores: npt.NDArray[np.float32], /
) -> None: ...
def gradient(
    weights: npt.NDArray[np.float32],
    x: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    gradient: npt.NDArray[np.float32],
    /,
) -> None: ...
def choose(name: str, /) -> None: ...
