"""The strategy with the least error in the running sums at a given privacy, for a number of rounds and a separation.

What is minimised is :attr:`Strategy.error`; privacy does not depend on how well: it is computed from the integers that
come out.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from skerry.errors import MissingDependencyError
from skerry.security.privacy.factorisation.strategy import UNIT, Strategy, independent

__all__ = ["banded", "buffered"]

_MOST_BANDS = 512
_BUFFERS = 3
_Vector = npt.NDArray[np.float64]


@lru_cache(maxsize=16)
def banded(rounds: int, min_separation: int) -> Strategy:
    """As many coefficients as rounds of separation, so that one unit's rounds do not meet (at most 512).

    Choquette-Choo et al. 2023, "(Amplified) banded matrix factorization", here as Toeplitz matrices.

    Raises:
        MissingDependencyError: scipy is not installed.
    """
    bands = min(min_separation, rounds, _MOST_BANDS)
    if bands == 1:
        return independent(rounds, min_separation)
    lfilter, minimize = _scipy()
    weights = 1 - np.arange(rounds) / rounds
    counts = np.array([len(range(0, rounds - j, min_separation)) for j in range(bands)], dtype=np.float64)
    ones = np.ones(rounds)

    def loss(tail: _Vector) -> tuple[float, _Vector]:
        c = np.concatenate(([1.0], tail))
        beta = lfilter([1.0], c, ones)
        error = float(weights @ beta**2)
        adjoint = lfilter([1.0], c, (2 * weights * beta)[::-1])[::-1]
        slope = -np.correlate(adjoint, beta, "full")[rounds - 1 : rounds - 1 + bands]
        sensitivity = float(counts @ c**2)
        gradient = slope / error + 2 * counts * c / sensitivity
        return math.log(error) + math.log(sensitivity), gradient[1:]

    root = np.cumprod(np.concatenate(([1.0], 1 - 1 / (2 * np.arange(1, bands)))))  # the square root of A, cut off
    found = minimize(loss, root[1:], jac=True, method="L-BFGS-B", options={"maxiter": 500, "maxfun": 1000})
    return Strategy("banded", _integers(np.concatenate(([1.0], found.x))), rounds, min_separation)


@lru_cache(maxsize=16)
def buffered(rounds: int, min_separation: int) -> Strategy:
    """Coefficients that are sums of three falling exponentials: c_t = Σ θ_i·λ_i^(t-1).

    Dvijotham, McMahan et al. 2024, "Efficient and near-optimal noise generation for streaming differential privacy"
    (buffered linear Toeplitz matrices); for several participations McMahan, Xu, Zhang 2024, "A hassle-free algorithm
    for private learning in practice" (arXiv:2408.08868). They reach over the separation, and never rise.

    Raises:
        MissingDependencyError: scipy is not installed.
    """
    lfilter, minimize = _scipy()
    weights = 1 - np.arange(rounds) / rounds
    powers = np.arange(rounds - 1)

    def coefficients(parameters: _Vector) -> tuple[_Vector, _Vector, _Vector]:
        share = np.exp(parameters[:_BUFFERS] - parameters[:_BUFFERS].max(initial=0.0))
        share /= share.sum() + math.exp(-parameters[:_BUFFERS].max(initial=0.0))  # Σ θ < 1 = c₀
        decay = 1 / (1 + np.exp(-parameters[_BUFFERS:]))
        tail = share @ decay[:, None] ** powers
        return np.concatenate(([1.0], tail)), share, decay

    def loss(parameters: _Vector) -> float:
        c, _, _ = coefficients(parameters)
        beta = lfilter([1.0], c, np.ones(rounds))
        overlap = np.zeros(rounds)
        for first in range(0, rounds, min_separation):
            overlap[first:] += c[: rounds - first]
        return math.log(float(weights @ beta**2)) + math.log(float(overlap @ overlap))

    starts = [
        np.concatenate((np.full(_BUFFERS, level), np.log(np.geomspace(0.5, reach, _BUFFERS))))
        for level in (0.0, -1.5)
        for reach in (min_separation / 2, 4.0 * min_separation)
    ]
    best = min(
        (minimize(loss, start, method="L-BFGS-B", options={"maxiter": 200}) for start in starts), key=lambda m: m.fun
    )
    falling = np.minimum.accumulate(np.maximum(coefficients(best.x)[0], 0.0))
    return Strategy("buffered", _integers(falling), rounds, min_separation)


def _integers(c: _Vector) -> tuple[int, ...]:
    """Multiples of 1/UNIT, without zeros at the end."""
    scaled = [int(value) for value in np.rint(UNIT * c)]
    while scaled[-1] == 0:
        scaled.pop()
    return tuple(scaled)


def _scipy() -> tuple[Callable[..., _Vector], Callable[..., "_Found"]]:
    try:
        from scipy.optimize import minimize
        from scipy.signal import lfilter
    except ImportError as error:
        raise MissingDependencyError(
            "finding a noise strategy needs scipy", mend="pip install 'skerry[server]'"
        ) from error
    return lfilter, minimize


class _Found:
    """What scipy's optimizers return, as far as it is used."""

    x: _Vector
    fun: float
