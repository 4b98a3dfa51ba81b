"""The direction in which the updates differ most, from their distances alone."""

import numpy as np
import numpy.typing as npt

__all__ = ["principal"]

Float64Array = npt.NDArray[np.float64]


def principal(distances: Float64Array, weights: Float64Array) -> tuple[float, Float64Array]:
    """Largest eigenvalue λ of the weighted covariance, and each row's squared share along its eigenvector v.

    With ``μ = Σ c_i x_i / Σ c`` and ``C = Σ c_i (x_i - μ)(x_i - μ)ᵀ / Σ c``: λ = λ₁(C), and ``⟨x_i - μ, v⟩²`` for
    every row. All of it follows from the distances: ``⟨x_i - μ, x_j - μ⟩ = -(D_ij - (Dw)_i - (Dw)_j + wᵀDw)/2`` with
    w = c/Σc, and C has the eigenvalues of the (n, n) matrix ``√w_i ⟨x_i - μ, x_j - μ⟩ √w_j``.

    >>> largest, shares = principal(np.array([[0.0, 4.0], [4.0, 0.0]]), np.ones(2))
    >>> round(largest, 9), shares.round(9).tolist()
    (1.0, [1.0, 1.0])
    """
    share = weights / weights.sum()
    spread = distances @ share
    inner = -0.5 * (distances - spread[:, None] - spread[None, :] + float(share @ spread))
    roots = np.sqrt(share)
    values, vectors = np.linalg.eigh(roots[:, None] * inner * roots[None, :])
    largest = float(max(values[-1], 0.0))
    if largest == 0.0:
        return 0.0, np.zeros(len(weights))
    along = inner @ (roots * vectors[:, -1])
    shares: Float64Array = along**2 / largest
    return largest, shares
