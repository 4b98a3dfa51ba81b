"""Identities of vectors: keys that anybody can make from a label."""

import hashlib
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from skerry.security import Identity
from skerry.security.hpke import KemPrivateKey, KemSuite

__all__ = ["described", "ephemeral", "person"]


def person(name: str, suite: KemSuite = KemSuite.X25519) -> Identity:
    """The identity whose private keys are digests of its name."""
    signing, sealing = (hashlib.sha256(f"{name} {use}".encode()).digest() for use in ("sign", "seal"))
    return Identity(name, Ed25519PrivateKey.from_private_bytes(signing), KemPrivateKey(suite, sealing))


def ephemeral(suite: KemSuite, label: str) -> KemPrivateKey:
    """The one-time key that a sender uses in a vector."""
    return KemPrivateKey(suite, hashlib.sha256(f"ephemeral {label}".encode()).digest())


def described(who: Identity) -> dict[str, Any]:
    """Private and public halves, for a file."""
    return {
        **who.public.to_json(),
        "signing_private": who.signing.private_bytes_raw().hex(),
        "kem_private": who.kem.raw.hex(),
    }
