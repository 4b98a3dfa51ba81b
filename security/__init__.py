"""The security room: who speaks, what is sealed, what is spent, what is screened, what is delivered.

This face gives identities and sealed messages. The other rooms have their own faces: :mod:`~skerry.security.delivery`
(signed, encrypted releases), :mod:`~skerry.security.privacy` (mechanisms, accounting, ledger) and
:mod:`~skerry.security.anomaly` (screening of updates).
"""

from skerry.security.envelope import (
    MAX_ENVELOPE_BYTES,
    MAX_LIFETIME_MS,
    SKEW_MS,
    Expected,
    Header,
    Kind,
    Opened,
    envelope_digest,
    open_envelope,
    seal,
    seal_named,
)
from skerry.security.identity import Directory, Identity, PublicIdentity, verify_signature
from skerry.security.refusal import Refusal
from skerry.security.replay import ReplayGuard

__all__ = [
    "MAX_ENVELOPE_BYTES",
    "MAX_LIFETIME_MS",
    "SKEW_MS",
    "Directory",
    "Expected",
    "Header",
    "Identity",
    "Kind",
    "Opened",
    "PublicIdentity",
    "Refusal",
    "ReplayGuard",
    "envelope_digest",
    "open_envelope",
    "seal",
    "seal_named",
    "verify_signature",
]
