"""What a sequence of Gaussian releases costs: Rényi DP to refuse by, privacy loss distributions to report.

Files: ``events`` (what is released), ``rdp`` (Poisson sampling, the ledger's currency), ``fixed_size`` (cohorts drawn
without replacement), ``zcdp`` (correlated noise), ``pld`` (reports), ``guarantee`` (a figure and what it means).

Every conversion to (ε, δ) keeps :data:`SAMPLER_SHARE` of δ back for the samplers' distance from exact integer noise
(:func:`skerry.security.privacy.mechanisms.sampling_delta`).

Gaussian DP (a central limit approximation) is not offered: it reports less than was spent.
"""

from skerry.security.privacy.accounting.events import FixedSizeEvent, GaussianEvent, Relation, merge
from skerry.security.privacy.accounting.fixed_size import rdp_fixed_size
from skerry.security.privacy.accounting.guarantee import SAMPLER_SHARE, Guarantee, check_delta
from skerry.security.privacy.accounting.pld import epsilon_pld
from skerry.security.privacy.accounting.rdp import ORDERS, Rdp, calibrate, compose, epsilon_from_rdp, rdp
from skerry.security.privacy.accounting.zcdp import epsilon_from_zcdp, zcdp, zcdp_for

__all__ = [
    "ORDERS",
    "SAMPLER_SHARE",
    "FixedSizeEvent",
    "GaussianEvent",
    "Guarantee",
    "Rdp",
    "Relation",
    "calibrate",
    "check_delta",
    "compose",
    "epsilon_from_rdp",
    "epsilon_from_zcdp",
    "epsilon_pld",
    "merge",
    "rdp",
    "rdp_fixed_size",
    "zcdp",
    "zcdp_for",
]
