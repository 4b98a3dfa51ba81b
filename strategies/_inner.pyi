import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array

def inner_products(rows: Float32Array, out: npt.NDArray[np.float64], /) -> None: ...
