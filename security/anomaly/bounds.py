"""Tail bounds of the noise that honest devices add, in closed form.

Stated for Gaussian noise. The discrete Gaussian that devices draw is thousands of grid steps wide; its moment
generating functions then differ from the continuous ones by far less than the probabilities below.
"""

from math import log, sqrt
from statistics import NormalDist

__all__ = ["largest_norm", "normal_quantile", "smallest_norm"]


def normal_quantile(error: float) -> float:
    """The q with ``P(N(0, 1) < -q) = error``.

    >>> round(normal_quantile(1e-6), 3)
    4.753
    """
    return -NormalDist().inv_cdf(error)


def largest_norm(dimension: int, signal: float, error: float, *, steps: int = 1) -> float:
    """In units of the noise's std: what the norm of signal plus noise exceeds with probability at most ``error``.

    For one step the signal is fixed before the noise is drawn, and ‖s + N‖² is noncentral chi-square with d
    degrees of freedom and noncentrality λ ≤ ``signal``²:

        P(‖s + N‖² ≥ d + λ + 2·√((d + 2λ)·x) + 2x) ≤ e^-x        (Birgé 2001, lemma 8.1)

    With several local steps later gradients react to earlier noise; then only ‖s + N‖ ≤ ‖s‖ + ‖N‖ is sure, and
    the bound for λ = 0 (Laurent and Massart 2000, lemma 1) is added to the signal. Both grow with λ, so a bound
    on the signal is enough.

    >>> round(largest_norm(2570, 0.0, 1e-9), 1), round(largest_norm(2570, 40.0, 1e-9), 1)
    (55.4, 70.0)
    """
    x = -log(error)
    if steps == 1:
        energy = signal * signal
        return sqrt(dimension + energy + 2 * sqrt((dimension + 2 * energy) * x) + 2 * x)
    return signal + sqrt(dimension + 2 * sqrt(dimension * x) + 2 * x)


def smallest_norm(dimension: int, error: float, *, steps: int = 1) -> float:
    """In units of the noise's std: what the norm of signal plus noise falls below with probability at most ``error``.

    A signal only makes the norm stochastically larger, so the bound is that of pure noise:

        P(‖N‖² ≤ d - 2·√(d·x)) ≤ e^-x        (Laurent and Massart 2000, lemma 1)

    Of several local steps only the last one's noise, 1/√steps of the total's std, is independent of all the
    rest; the bound counts that one alone. Zero where the dimension is too small to say anything.

    >>> round(smallest_norm(2570, 1e-9), 1), smallest_norm(10, 1e-9)
    (45.9, 0.0)
    """
    x = -log(error)
    return sqrt(max(0.0, dimension - 2 * sqrt(dimension * x)) / steps)
