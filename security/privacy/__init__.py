"""Differential privacy: random bits, integer noise, what it costs, and the ledger that refuses to overspend."""

from skerry.security.privacy.accounting import (
    ORDERS,
    SAMPLER_SHARE,
    GaussianEvent,
    Rdp,
    calibrate,
    compose,
    epsilon_from_rdp,
    epsilon_pld,
    merge,
    rdp,
)
from skerry.security.privacy.chain import Entry
from skerry.security.privacy.ledger import Ledger, LedgerReport, Policy, Scope, verify_ledger
from skerry.security.privacy.mechanisms import (
    MAX_SCALE,
    DiscreteGaussian,
    IntegerNoise,
    Skellam,
    sampling_delta,
    skellam_rdp,
)
from skerry.security.privacy.stream import ChaChaStream, RandomStream, derive_generator, os_stream, seeded_stream

__all__ = [
    "MAX_SCALE",
    "ORDERS",
    "SAMPLER_SHARE",
    "ChaChaStream",
    "DiscreteGaussian",
    "Entry",
    "GaussianEvent",
    "IntegerNoise",
    "Ledger",
    "LedgerReport",
    "Policy",
    "RandomStream",
    "Rdp",
    "Scope",
    "Skellam",
    "calibrate",
    "compose",
    "derive_generator",
    "epsilon_from_rdp",
    "epsilon_pld",
    "merge",
    "os_stream",
    "rdp",
    "sampling_delta",
    "seeded_stream",
    "skellam_rdp",
    "verify_ledger",
]
