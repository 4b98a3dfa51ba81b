"""The one HPKE suite in use: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM (RFC 9180, base mode).

AES-256-GCM because WebCrypto has it and ChaCha20-Poly1305 not, and because payloads here are small enough for a
board without AES instructions. Base mode says nothing about who sealed: every caller signs what it seals, and
binds the context through ``info`` (single-shot sealing has no other associated data).
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

__all__ = ["OVERHEAD", "SUITE_NAME", "hpke_open", "hpke_seal"]

SUITE_NAME = "x25519"
OVERHEAD = 32 + 16
"""Bytes by which sealing lengthens: the encapsulated key before, the tag after."""

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def hpke_seal(plaintext: bytes, receiver: X25519PublicKey, info: bytes) -> bytes:
    """``enc (32) ‖ ciphertext ‖ tag (16)``, which only the holder of the private key opens, under the same ``info``."""
    return _SUITE.encrypt(plaintext, receiver, info)


def hpke_open(sealed: bytes | memoryview, receiver: X25519PrivateKey, info: bytes) -> bytes | None:
    """The plaintext, or ``None`` when it was sealed to another key, under another ``info``, or was altered."""
    try:
        return _SUITE.decrypt(sealed, receiver, info)
    except InvalidTag:
        return None
