import numpy as np
import numpy.typing as npt

def errors(
    weight: npt.NDArray[np.float64],
    rows: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    errors: npt.NDArray[np.float64],
    norms: npt.NDArray[np.float64],
    /,
) -> None: ...
def add_products(
    errors: npt.NDArray[np.float64], rows: npt.NDArray[np.float64], bound: float, total: npt.NDArray[np.int64], /
) -> int: ...
