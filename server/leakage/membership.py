"""Membership inference by likelihood ratios (LiRA; Carlini et al. 2022, arXiv:2112.03570).

Runs are repeated with a fair coin for each example. For every example and run, the runs besides tell how a score is
distributed with the example in and with it out; where this run's score lies between the two is how sure the attacker
is. Each run is attacked with all others as shadows, so no run is trained for one purpose only.
"""

import numpy as np
import numpy.typing as npt

from skerry.errors import InputError

__all__ = ["gaussian_tpr", "membership_scores"]

_Float64 = npt.NDArray[np.float64]
_FEWEST = 4  # shadows with an example in, and with it out


def membership_scores(scores: npt.ArrayLike, inside: npt.ArrayLike) -> _Float64:
    """Log-likelihood ratios of being in, ``(runs, examples)``; NaN where an example has too few shadows of a kind.

    Both kinds are taken to be normal with one variance for both and for all examples, the choice for few shadows.

    Args:
        scores: ``(runs, examples)``: of each example in each run, the larger the more like a member.
        inside: ``(runs, examples)``: who was in.

    Raises:
        InputError: the shapes differ, or no example has enough shadows.
    """
    values, members = np.asarray(scores, np.float64), np.asarray(inside, bool)
    if values.shape != members.shape or values.ndim != 2:
        raise InputError(f"scores and members are tables of one shape, got {values.shape} and {members.shape}")
    others = {}
    variances = []
    for kind, mask in (("in", members), ("out", ~members)):
        count, total = mask.sum(0), np.where(mask, values, 0).sum(0)
        left = count - mask  # without the run that is attacked
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (total - np.where(mask, values, 0)) / left
            apart = np.where(mask, values - total / count, 0)
            variances.append((apart**2).sum() / (count - 1).clip(0).sum())
        others[kind] = np.where(left >= _FEWEST, mean, np.nan)
    if np.isnan(others["in"] + others["out"]).all():
        raise InputError(f"every example needs at least {_FEWEST} shadow runs with it in, and with it out")
    pooled = float(np.mean(variances))
    found: _Float64 = ((values - others["out"]) ** 2 - (values - others["in"]) ** 2) / (2 * pooled)
    return found


def gaussian_tpr(mu: float, rate: float) -> float:
    """The most that any test of one example reaches at a false positive rate, against μ-Gaussian differential privacy.

    Full-batch steps of Gaussian noise σ compose to μ = √steps / σ (Dong, Roth, Su 2022, arXiv:1905.02383). Much tighter
    than e^ε·rate + δ, which at ε = 8 says nothing.
    """
    from scipy.special import ndtr, ndtri

    return float(ndtr(ndtri(rate) + mu))
