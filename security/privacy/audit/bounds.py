"""Lower bounds on ε from counts of right and wrong guesses about who was in.

Each canary (a planted example, or a planted device) is put in or left out by a fair coin that was tossed, and
committed to, before training. Afterwards an attacker guesses the coins of some and abstains on the others. A bound
here says: with this confidence, a mechanism that is (ε', δ)-DP for a smaller ε' would not have let so many guesses be
right. It proves a leak; a bound of zero proves nothing (see :func:`~skerry.security.privacy.audit.scores.ceiling`).

δ and the neighbouring relation (add/remove one canary) are those of the claim that is tested.
"""

import math
from collections.abc import Callable

import numpy as np

from skerry.errors import InputError

__all__ = [
    "clopper_pearson_epsilon",
    "gaussian_mu",
    "gaussian_one_run_epsilon",
    "one_run_epsilon",
    "one_run_p_value",
]

_PRECISION = 1e-6
_LARGEST = 200.0


def one_run_p_value(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """How likely an (ε, δ)-DP mechanism lets at least ``correct`` of ``guesses`` be right.

    Steinke, Nasr, Jagielski, "Privacy auditing with one (1) training run", arXiv:2305.08846, Theorem 3.1: the number
    of right guesses is stochastically dominated by Binomial(guesses, e^ε/(1+e^ε)) but for a term 2·m·δ·α, where
    α = max over i of P[correct > W ≥ correct - i]/i.

    Args:
        canaries: m, all whose coins were tossed, abstentions included.
        guesses: r, how many were guessed.
        correct: v, how many of those were right.
        epsilon: of the claim.
        delta: of the claim.
    """
    from scipy.stats import binom

    _check(canaries, guesses, correct, delta)
    chance = 1 / (1 + math.exp(-epsilon))
    tail = float(binom.sf(correct - 1, guesses, chance))
    if not delta or not correct:
        return tail
    steps = np.arange(1, correct + 1)
    below = binom.sf(correct - steps - 1, guesses, chance) - tail
    return min(1.0, tail + float((below / steps).max()) * 2 * canaries * delta)


def one_run_epsilon(canaries: int, guesses: int, correct: int, delta: float, confidence: float = 0.95) -> float:
    """The largest ε that :func:`one_run_p_value` refuses; 0 when it refuses none."""
    level = _level(confidence)
    return _largest(lambda epsilon: one_run_p_value(canaries, guesses, correct, epsilon, delta) < level)


def gaussian_one_run_epsilon(
    canaries: int, guesses: int, correct: int, delta: float, confidence: float = 0.95
) -> float:
    """The same for the narrower claim that the mechanism's trade-off curve is a *Gaussian* mechanism's.

    Mahloujifar, Melis, Chaudhuri, "Auditing f-differential privacy in one run", arXiv:2410.22235, Algorithm 3 with
    the curve of μ-GDP, where μ is that of the Gaussian mechanism which is (ε, δ)-DP. It is tighter than the bound for
    any mechanism, and refutes only Gaussian ones: for composed or sampled Gaussians it is a close stand-in, no proof.
    """
    _check(canaries, guesses, correct, delta)
    level = _level(confidence)
    if not delta:
        raise InputError("a Gaussian mechanism has no ε at δ = 0")
    return _largest(lambda epsilon: _refutes_gaussian(canaries, guesses, correct, gaussian_mu(epsilon, delta), level))


def clopper_pearson_epsilon(
    correct: int, members: int, alarms: int, others: int, delta: float, confidence: float = 0.95
) -> float:
    """ε from confidence bounds on an attack's two rates: TPR ≤ e^ε·FPR + δ for any (ε, δ)-DP mechanism.

    Holds where the canaries' scores are independent given their coins: one canary in each of many runs, or scores
    that do not influence each other. To test the other direction (who was out), exchange the roles. Each rate's bound
    has half of what the confidence leaves (Bonferroni).

    Args:
        correct: members that the attack called members.
        members: how many were in.
        alarms: others that it called members.
        others: how many were out.
        delta: of the claim.
        confidence: of the bound.
    """
    from scipy.stats import beta

    if not (0 <= correct <= members and 0 <= alarms <= others and members and others):
        raise InputError(f"{correct} of {members} and {alarms} of {others} are no outcome of an audit")
    level = _level(confidence) / 2
    least = float(beta.ppf(level, correct, members - correct + 1)) if correct else 0.0
    most = float(beta.ppf(1 - level, alarms + 1, others - alarms)) if alarms < others else 1.0
    return max(0.0, math.log((least - delta) / most)) if least > delta else 0.0


def gaussian_mu(epsilon: float, delta: float) -> float:
    """μ of the Gaussian mechanism that is exactly (ε, δ)-DP: sensitivity over noise."""
    from scipy.optimize import brentq
    from scipy.special import log_ndtr, ndtr

    def excess(mu: float) -> float:
        return float(ndtr(mu / 2 - epsilon / mu) - np.exp(epsilon + log_ndtr(-mu / 2 - epsilon / mu)) - delta)

    return float(brentq(excess, 1e-9, 4 * (1 + math.sqrt(epsilon) + epsilon), xtol=1e-10))


def _refutes_gaussian(canaries: int, guesses: int, correct: int, mu: float, level: float) -> bool:
    from scipy.special import ndtr, ndtri

    right, wrong = level * correct / canaries, level * (guesses - correct) / canaries
    for i in range(correct - 1, -1, -1):
        more = max(wrong, float(ndtr(ndtri(right) - mu)))
        if more == wrong:
            break  # nothing changes any more
        right = min(1.0, right + i / (guesses - i) * (more - wrong))
        wrong = more
    return right + wrong > guesses / canaries


def _largest(refuted: Callable[[float], bool]) -> float:
    """The largest ε that is refuted, by bisection: a smaller claim is refuted whenever a larger one is."""
    if not refuted(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while refuted(high):
        low, high = high, 2 * high
        if high > _LARGEST:
            return low
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def _level(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise InputError(f"a confidence lies between 0 and 1, got {confidence}")
    return 1 - confidence


def _check(canaries: int, guesses: int, correct: int, delta: float) -> None:
    if not 0 <= correct <= guesses <= canaries or canaries < 1 or not 0 <= delta < 1:
        raise InputError(
            f"{correct} right of {guesses} guesses about {canaries} canaries at δ = {delta} is no outcome of an audit"
        )
