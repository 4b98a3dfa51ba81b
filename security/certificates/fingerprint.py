"""What two people compare to know that they speak of one key."""

import hashlib

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

__all__ = ["fingerprint", "spki"]


def spki(key: ec.EllipticCurvePublicKey) -> bytes:
    """A public key as it is entered and certified: SubjectPublicKeyInfo, DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def fingerprint(key: bytes) -> str:
    """SHA-256 of a SubjectPublicKeyInfo, in hexadecimal."""
    return hashlib.sha256(key).hexdigest()
