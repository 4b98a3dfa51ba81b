"""A small certificate authority: device certificates of seven days, their verification and their revocation."""

from skerry.security.certificates.authority import Authority
from skerry.security.certificates.fingerprint import fingerprint, spki
from skerry.security.certificates.subject import Role, Subject
from skerry.security.certificates.trust import CertificateRefusal, Peer, Trust
from skerry.security.certificates.validity import ms_of, renew_at

__all__ = [
    "Authority",
    "CertificateRefusal",
    "Peer",
    "Role",
    "Subject",
    "Trust",
    "fingerprint",
    "ms_of",
    "renew_at",
    "spki",
]
