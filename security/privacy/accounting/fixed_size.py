"""Rényi differential privacy of a cohort of fixed size, drawn without replacement.

Poisson sampling's figures do not hold for it: the cohort's size is public, so neighbours exchange one unit for another.
"""

import math
from decimal import Context, Decimal
from functools import lru_cache

import numpy as np

from skerry.security.privacy.accounting.events import FixedSizeEvent
from skerry.security.privacy.accounting.rdp import ORDERS, Rdp

__all__ = ["rdp_fixed_size"]

_EXACT = 256  # moments above are bounded by 2·exp((j-1)·ε(j)): orders that high never decide


def rdp_fixed_size(event: FixedSizeEvent) -> Rdp:
    """Rényi divergence bound ε(α) at :data:`~skerry.security.privacy.accounting.rdp.ORDERS`, under ``replace-one``.

    With γ = m/n and ε(j) = j/2σ² (Wang, Balle, Kasiviswanathan, "Subsampled Rényi differential privacy and analytical
    moments accountant", 2019, theorems 9 and 27), at integer α:

        (α-1)·ε'(α) ≤ ln(1 + Σ_{2≤j≤α} C(α,j)·γ^j·T(j)),   T(2) = min(4(e^ε(2) - 1), 2e^ε(2)),
        T(j) = min(4·√(B(2⌊j/2⌋)·B(2⌈j/2⌉)), 2e^((j-1)ε(j))),

    where B(l) = E[(P/Q - 1)^l] = Σ_i (-1)^i C(l,i)·e^(i(i-1)/2σ²) for even l, computed with as many digits as its
    cancellation takes. These moments are the discrete Gaussian's too: see :func:`skerry.security.privacy.rdp`. At
    fractional orders nothing is claimed (infinity).
    """
    share, sigma = event.cohort / event.population, event.noise_multiplier
    if share == 0 or event.steps == 0:
        return np.zeros(len(ORDERS))
    if share == 1:
        return event.steps * np.array(ORDERS) / (2 * sigma**2)
    return event.steps * _once(share, sigma)


@lru_cache(maxsize=64)
def _once(share: float, sigma: float) -> Rdp:
    values = np.full(len(ORDERS), math.inf)
    last = int(ORDERS[-1])
    j = np.arange(last + 1, dtype=np.float64)
    simple = math.log(2) + j * (j - 1) / (2 * sigma**2)  # ln(2e^((j-1)ε(j)))
    term = simple.copy()
    term[2] = min(math.log(4) + math.log(math.expm1(1 / sigma**2)), simple[2])
    moments = _log_central_moments(sigma, _EXACT)
    for i in range(3, _EXACT):
        refined = math.log(4) + (moments[i // 2] + moments[(i + 1) // 2]) / 2
        term[i] = min(refined, simple[i])
    log_factorial = np.array([math.lgamma(i + 1) for i in range(last + 1)])
    for at, order in enumerate(ORDERS):
        if order.is_integer():
            a = int(order)
            binomial = log_factorial[a] - log_factorial[: a + 1] - log_factorial[a::-1]
            terms = (binomial + j[: a + 1] * math.log(share) + term[: a + 1])[2:]
            amplified = float(np.logaddexp(0.0, np.logaddexp.reduce(terms))) / (order - 1)
            values[at] = min(amplified, order / (2 * sigma**2))  # sampling never costs more than taking part surely
    values.setflags(write=False)
    return values


def _log_central_moments(sigma: float, last: int) -> list[float]:
    """Logarithms of B(2h) for h = 0 … last/2."""
    digits = 60 + math.ceil(last * (math.log10(2) + max(0.0, math.log10(sigma))))
    context = Context(prec=digits, Emin=-(10**17), Emax=10**17)
    ratio = context.exp(context.divide(Decimal(1), context.power(Decimal(sigma), 2)))
    raw = [Decimal(1), Decimal(1)]  # e^(i(i-1)/2σ²)
    step = Decimal(1)
    for _ in range(2, last + 1):
        step = context.multiply(step, ratio)
        raw.append(context.multiply(raw[-1], step))
    found = []
    for even in range(0, last + 1, 2):
        total = Decimal(0)
        for i in range(even + 1):
            part = context.multiply(math.comb(even, i), raw[i])
            total = context.subtract(total, part) if i % 2 else context.add(total, part)
        exponent = total.adjusted()
        found.append(math.log(float(context.scaleb(total, -exponent))) + exponent * math.log(10))
    return found
